// SPDX-License-Identifier: Apache-2.0
#include "verifier/load.hpp"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>

#include "cli/object_file.hpp"
#include "cli/verify_load.hpp"

namespace taskwork::bench {

namespace {

constexpr std::uint32_t kLogStatistics = 4;

void need(bool done, const char* what) {
    if (!done) {
        std::fprintf(stderr, "verifier_bench: %s: %s\n", what, std::strerror(errno));
        std::exit(1);
    }
}

std::uint64_t now_ns() {
    return static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                          std::chrono::steady_clock::now().time_since_epoch())
                                          .count());
}

/// Descriptors that all generated programs share.
struct Parts {
    int map = -1;
    int types = -1;
    std::uint32_t main_id = 0;
    std::uint32_t callee_id = 0;
};

const Parts& parts() {
    static const Parts made = [] {
        Parts parts;
        parts.map = bpf_map_create(BPF_MAP_TYPE_ARRAY, "values", 4, kValueBytes, 1, nullptr);
        need(parts.map >= 0, "the map");
        // Callbacks must be known to be static, which is said by types.
        btf* types = btf__new_empty();
        const int number = btf__add_int(types, "long", 8, BTF_INT_SIGNED);
        const int prototype = btf__add_func_proto(types, number);
        parts.main_id =
            static_cast<std::uint32_t>(btf__add_func(types, "program", BTF_FUNC_GLOBAL, prototype));
        parts.callee_id =
            static_cast<std::uint32_t>(btf__add_func(types, "callee", BTF_FUNC_STATIC, prototype));
        std::uint32_t size = 0;
        const void* bytes = btf__raw_data(types, &size);
        parts.types = bpf_btf_load(bytes, size, nullptr);
        need(parts.types >= 0, "the types");
        btf__free(types);
        return parts;
    }();
    return made;
}

Cost load_generated(const Subject& subject) {
    const Parts& shared = parts();
    std::vector<bpf_insn> insns = subject.insns;
    for (std::size_t i = 0; i < insns.size(); ++i) {
        if (insns[i].code == (BPF_LD | BPF_IMM | BPF_DW)) {
            if (insns[i].src_reg == BPF_PSEUDO_MAP_FD || insns[i].src_reg == BPF_PSEUDO_MAP_VALUE) {
                insns[i].imm = shared.map;
            }
            ++i;
        }
    }
    const bpf_func_info functions[] = {{0, shared.main_id}, {subject.callee, shared.callee_id}};
    char log[4096];
    log[0] = '\0';
    bpf_prog_load_opts options{};
    options.sz = sizeof(options);
    options.prog_btf_fd = static_cast<std::uint32_t>(shared.types);
    options.func_info = functions;
    options.func_info_cnt = subject.callee == 0 ? 1 : 2;
    options.func_info_rec_size = sizeof(bpf_func_info);
    options.log_level = kLogStatistics;
    options.log_buf = log;
    options.log_size = sizeof(log);
    const std::uint64_t begin = now_ns();
    const int program = bpf_prog_load(BPF_PROG_TYPE_PERF_EVENT, "program", "GPL", insns.data(),
                                      insns.size(), &options);
    Cost cost;
    cost.load_ns = now_ns() - begin;
    const cli::LogSummary summary = cli::summarize_log(log);
    cost.verified_us = summary.time_us;
    cost.insns = summary.insns_processed;
    cost.states = summary.states_total;
    if (program < 0) {
        cost.error = summary.reason.empty() ? std::strerror(-program) : summary.reason;
    } else {
        close(program);
    }
    return cost;
}

Cost load_object(const Subject& subject) {
    static std::map<std::string, std::vector<char>> files;
    std::vector<char>& bytes = files[subject.path];
    if (bytes.empty()) {
        auto read = cli::read_object_file(subject.path);
        need(read.has_value(), subject.path.c_str());
        bytes = std::move(*read);
    }
    const std::uint64_t begin = now_ns();
    const cli::ProgramVerdict verdict =
        cli::load_alone(bytes, subject.path, subject.program, kLogStatistics);
    Cost cost;
    cost.load_ns = now_ns() - begin;
    cost.verified_us = verdict.summary.time_us;
    cost.insns = verdict.summary.insns_processed;
    cost.states = verdict.summary.states_total;
    cost.error = verdict.reason;
    return cost;
}

}  // namespace

Cost load(const Subject& subject) {
    return subject.path.empty() ? load_generated(subject) : load_object(subject);
}

}  // namespace taskwork::bench
