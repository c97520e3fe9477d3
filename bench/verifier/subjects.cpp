// SPDX-License-Identifier: Apache-2.0
#include "verifier/subjects.hpp"

#include <cstdio>
#include <cstdlib>
#include <sstream>

#include "cli/object_file.hpp"
#include "cli/verify_load.hpp"

namespace taskwork::bench {

std::vector<Subject> examples() {
    std::vector<Subject> found;
    std::istringstream names(TASKWORK_BENCH_EXAMPLES);
    for (std::string name; std::getline(names, name, ',');) {
        const std::string path = TASKWORK_BENCH_BPF_DIR "/" + name + ".bpf.o";
        const auto bytes = cli::read_object_file(path);
        const auto programs = bytes ? cli::programs_of(*bytes, path)
                                    : Result<std::vector<cli::ProgramName>>(bytes.error());
        if (!programs) {
            std::fprintf(stderr, "verifier_bench: %s\n", programs.error().text.c_str());
            std::exit(1);
        }
        for (const cli::ProgramName& program : *programs) {
            Subject subject;
            subject.name = name + ": " + program.name;
            subject.path = path;
            subject.program = program.name;
            found.push_back(std::move(subject));
        }
    }
    return found;
}

std::vector<Subject> subjects(bool is_short) {
    std::vector<Subject> all = examples();
    for (std::uint32_t processed = 100; processed <= (is_short ? 1'000 : 100'000);
         processed *= 10) {
        for (Subject& subject : families(processed)) {
            all.push_back(std::move(subject));
        }
    }
    return all;
}

}  // namespace taskwork::bench
