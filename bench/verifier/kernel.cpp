// SPDX-License-Identifier: Apache-2.0
#include "verifier/kernel.hpp"

#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cinttypes>
#include <fcntl.h>

namespace taskwork::bench {

Kernel::Kernel(bool is_short) {
    int requests[2] = {};
    int answers[2] = {};
    if (pipe2(requests, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0) {
        why_ = "no pipe to its process";
        return;
    }
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, requests[0], STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answers[1], STDOUT_FILENO);
    std::string path = TASKWORK_BENCH_KERNEL;
    std::string length = is_short ? "short" : "whole";
    char* const arguments[] = {path.data(), length.data(), nullptr};
    if (posix_spawn(&pid_, path.c_str(), &actions, nullptr, arguments, environ) != 0) {
        pid_ = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
    close(requests[0]);
    close(answers[1]);
    requests_ = fdopen(requests[1], "w");
    answers_ = fdopen(answers[0], "r");
    if (pid_ < 0 || !read_line(why_)) {
        why_ = "its process does not answer";
    }
}

Kernel::~Kernel() {
    if (requests_ != nullptr) {
        std::fclose(requests_);
    }
    if (answers_ != nullptr) {
        std::fclose(answers_);
    }
    if (pid_ > 0) {
        waitpid(pid_, nullptr, 0);
    }
}

bool Kernel::read_line(std::string& line) {
    line.clear();
    for (int next = std::fgetc(answers_); next != EOF; next = std::fgetc(answers_)) {
        if (next == '\n') {
            return true;
        }
        line.push_back(static_cast<char>(next));
    }
    return false;
}

Cost Kernel::load(std::size_t number) {
    std::fprintf(requests_, "%zu\n", number);
    std::fflush(requests_);
    Cost cost;
    std::string line;
    int end = 0;
    if (!read_line(line) ||
        std::sscanf(line.c_str(), "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %n",
                    &cost.verified_us, &cost.load_ns, &cost.insns, &cost.states, &end) != 4) {
        cost.error = "its process does not answer";
        return cost;
    }
    cost.error = line.substr(static_cast<std::size_t>(end));
    return cost;
}

}  // namespace taskwork::bench
