// SPDX-License-Identifier: Apache-2.0
#include "respondent.hpp"

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "report.hpp"

namespace taskwork::bench {

Respondent::Respondent(const char* path, const char* environment) {
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
    std::string length = is_short() ? "short" : "whole";
    char* const arguments[] = {executable.data(), length.data(), nullptr};
    std::string extra = environment != nullptr ? environment : "";
    std::vector<char*> variables;
    if (environment != nullptr) {
        variables.push_back(extra.data());  // Of a name that is there twice, the first counts.
    }
    for (char** each = environ; *each != nullptr; ++each) {
        variables.push_back(*each);
    }
    variables.push_back(nullptr);
    if (posix_spawn(&pid_, path, &actions, nullptr, arguments, variables.data()) != 0) {
        pid_ = -1;
    }
    posix_spawn_file_actions_destroy(&actions);
    close(requests[0]);
    close(answers[1]);
    requests_ = fdopen(requests[1], "w");
    answers_ = fdopen(answers[0], "r");
    if (pid_ < 0 || !read_line(why_)) {
        why_ = kNoAnswer;
    }
}

Respondent::~Respondent() {
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

bool Respondent::read_line(std::string& line) {
    line.clear();
    for (int next = std::fgetc(answers_); next != EOF; next = std::fgetc(answers_)) {
        if (next == '\n') {
            return true;
        }
        line.push_back(static_cast<char>(next));
    }
    return false;
}

bool Respondent::is_ready(const std::string& what, Report& report) const {
    const std::string absent = kAbsent;
    if (why_.starts_with(absent)) {
        report.skipped(what, why_.substr(absent.size()));
    } else if (!why_.empty()) {
        report.error(what, why_);
    }
    return why_.empty();
}

bool Respondent::ask(const std::string& request, std::string& answer) {
    std::fprintf(requests_, "%s\n", request.c_str());
    std::fflush(requests_);
    return read_line(answer);
}

}  // namespace taskwork::bench
