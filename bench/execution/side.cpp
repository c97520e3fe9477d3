// SPDX-License-Identifier: Apache-2.0
#include "execution/side.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

namespace taskwork::bench {

Side::Side(const char* path, bool is_short, bool interprets) {
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
    std::string executable = path;
    std::string length = is_short ? "short" : "whole";
    char* const arguments[] = {executable.data(), length.data(), nullptr};
    if (interprets) {
        setenv("TASKWORK_JIT", "off", 1);
    }
    if (posix_spawn(&pid_, path, &actions, nullptr, arguments, environ) != 0) {
        pid_ = -1;
    }
    unsetenv("TASKWORK_JIT");
    posix_spawn_file_actions_destroy(&actions);
    close(requests[0]);
    close(answers[1]);
    requests_ = fdopen(requests[1], "w");
    answers_ = fdopen(answers[0], "r");
    if (pid_ < 0 || !read_line(why_)) {
        why_ = "its process does not answer";
    }
}

Side::~Side() {
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

bool Side::read_line(std::string& line) {
    line.clear();
    for (int next = std::fgetc(answers_); next != EOF; next = std::fgetc(answers_)) {
        if (next == '\n') {
            return true;
        }
        line.push_back(static_cast<char>(next));
    }
    return false;
}

double Side::measure(std::size_t row, unsigned threads, std::string& error) {
    std::fprintf(requests_, "%zu %u\n", row, threads);
    std::fflush(requests_);
    std::string line;
    double ns = 0;
    int end = 0;
    if (!read_line(line) || std::sscanf(line.c_str(), "%lf %n", &ns, &end) != 1) {
        error = "its process does not answer";
        return 0;
    }
    error = line.substr(static_cast<std::size_t>(end));
    return ns;
}

}  // namespace taskwork::bench
