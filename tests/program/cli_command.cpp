// SPDX-License-Identifier: Apache-2.0
#include "tests/program/cli_command.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <csignal>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <thread>

#ifndef TASKWORK_TEST_COMMAND
#error "the build says where the command is"
#endif

namespace taskwork::test {

struct RunningCommand::State {
    std::mutex lock;
    std::condition_variable changed;
    std::string out;
    std::string error;
    bool out_ended = false;
    std::thread readers[2];
    std::thread writer;

    void read_all(int fd, std::string& to, bool is_out) {
        std::array<char, 65536> buffer;
        for (ssize_t got = 0; (got = ::read(fd, buffer.data(), buffer.size())) > 0;) {
            const std::lock_guard guard(lock);
            to.append(buffer.data(), static_cast<std::size_t>(got));
            changed.notify_all();
        }
        ::close(fd);
        const std::lock_guard guard(lock);
        out_ended = out_ended || is_out;
        changed.notify_all();
    }
};

RunningCommand::RunningCommand(std::vector<std::string> words, const std::string& input,
                               const std::function<void()>& prepare)
    : state_(new State) {
    int in[2];
    int out[2];
    int error[2];
    if (::pipe2(in, O_CLOEXEC) != 0 || ::pipe2(out, O_CLOEXEC) != 0 ||
        ::pipe2(error, O_CLOEXEC) != 0) {
        throw std::runtime_error("no pipes");
    }
    std::vector<char*> arguments;
    for (std::string& word : words) {
        arguments.push_back(word.data());
    }
    arguments.push_back(nullptr);
    pid_ = ::fork();
    if (pid_ == 0) {
        ::setpgid(0, 0);
        ::dup2(in[0], 0);
        ::dup2(out[1], 1);
        ::dup2(error[1], 2);
        if (prepare) {
            prepare();
        }
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }
    ::close(in[0]);
    ::close(out[1]);
    ::close(error[1]);
    state_->readers[0] =
        std::thread([this, fd = out[0]] { state_->read_all(fd, state_->out, true); });
    state_->readers[1] =
        std::thread([this, fd = error[0]] { state_->read_all(fd, state_->error, false); });
    state_->writer = std::thread([fd = in[1], input] {
        [[maybe_unused]] const ssize_t written = ::write(fd, input.data(), input.size());
        ::close(fd);
    });
}

RunningCommand::~RunningCommand() {
    if (pid_ > 0) {
        ::kill(-pid_, SIGKILL);
        wait();
    }
    delete state_;
}

bool RunningCommand::wait_for_output(const std::string& text) {
    std::unique_lock guard(state_->lock);
    state_->changed.wait(
        guard, [&] { return state_->out_ended || state_->out.find(text) != std::string::npos; });
    return state_->out.find(text) != std::string::npos;
}

std::string RunningCommand::output() const {
    const std::lock_guard guard(state_->lock);
    return state_->out;
}

Outcome RunningCommand::wait() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    for (std::thread& reader : state_->readers) {
        reader.join();
    }
    state_->writer.join();
    return {WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status), state_->out,
            state_->error};
}

std::vector<std::string> taskwork_words(std::vector<std::string> words) {
    words.insert(words.begin(), TASKWORK_TEST_COMMAND);
    return words;
}

Outcome taskwork(std::vector<std::string> words, const std::function<void()>& prepare) {
    return RunningCommand(taskwork_words(std::move(words)), "", prepare).wait();
}

std::string object_path(const std::string& name) {
    return std::string(TASKWORK_TEST_BPF_DIR "/") + name + ".bpf.o";
}

TemporaryFolder::TemporaryFolder() {
    std::string name = std::filesystem::temp_directory_path() / "taskwork-test-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) {
        throw std::runtime_error("no temporary folder");
    }
    path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

Outcome run_with_report(std::vector<std::string> options, const std::string& object,
                        std::vector<std::string> command, nlohmann::json* report,
                        const std::function<void()>& prepare) {
    const TemporaryFolder folder;
    const std::string file = folder.file("report.json");
    std::vector<std::string> words = {"run", "--json=" + file};
    words.insert(words.end(), options.begin(), options.end());
    words.push_back(object_path(object));
    words.push_back("--");
    words.insert(words.end(), command.begin(), command.end());
    Outcome outcome = taskwork(std::move(words), prepare);
    std::ifstream in(file);
    *report = nlohmann::json::parse(in, nullptr, false);
    return outcome;
}

void refuse_call(long number, int error) {
    sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<std::uint32_t>(number), 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(error)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const sock_fprog program{.len = 4, .filter = filter};
    if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0) {
        ::_exit(99);
    }
}

void expect_balance(const nlohmann::json& report) {
    const nlohmann::json& counters = report.at("counters");
    EXPECT_EQ(counters.at("scheduled"), counters.at("ran").get<std::uint64_t>() +
                                            counters.at("cancelled").get<std::uint64_t>() +
                                            counters.at("dropped").get<std::uint64_t>())
        << counters;
    EXPECT_EQ(counters.at("in_flight"), 0);
}

}  // namespace taskwork::test
