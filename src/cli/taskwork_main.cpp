// SPDX-License-Identifier: Apache-2.0
//
// The taskwork command. What each part does is in its header:
//
//   options.hpp      the command line
//   run.hpp          taskwork run: from the object file to the report
//     signals.hpp      signals of the run process
//     host.hpp         this process as the host of a domain
//     object.hpp       OBJECT: opened, loaded, attached, read
//     processes.hpp    COMMAND's family: members, modules, who was not entered
//     status_line.hpp  the line on the terminal
//     report.hpp       what is told at the end: report_text.cpp, report_json.cpp
//     btf_value.hpp    bytes and a type make a value
//     latency.hpp      schedule-to-callback times
//   verify.hpp       taskwork verify: each program of an object, loaded alone
//     verify_load.hpp    one program through the verifier, its log taken apart
//     verify_tags.hpp    what an object itself expects of its programs
//   doctor.hpp       taskwork doctor
//   object_file.hpp, json_file.hpp   for both: OBJECT read, --json=FILE written
#include <cstdio>
#include <exception>
#include <new>

#include "cli/doctor.hpp"
#include "cli/options.hpp"
#include "cli/run.hpp"
#include "cli/verify.hpp"

int main(int argument_count, char** arguments) {
    using namespace taskwork::cli;
    try {
        const Options options = parse_options(argument_count, arguments);
        switch (options.action) {
        case Action::run:
            return run(options.run);
        case Action::verify:
            return verify(options.verify);
        case Action::doctor:
            return doctor();
        case Action::leave:
            break;
        }
        std::FILE* to = options.text_is_error ? stderr : stdout;
        std::fprintf(to, options.text_is_error ? "taskwork: %s\n" : "%s", options.text.c_str());
        return options.exit_status;
    } catch (const std::bad_alloc&) {
        std::fputs("taskwork: not enough memory\n", stderr);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "taskwork: %s\n", error.what());
    }
    return kExitFailed;
}
