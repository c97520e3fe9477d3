// SPDX-License-Identifier: Apache-2.0
//
// Runs the built `taskwork` as a user does, and keeps what it said.
#pragma once

#include <sys/types.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace taskwork::test {

struct Outcome {
    int exit_status = -1;  ///< -n: ended by signal n.
    std::string out;
    std::string error;
};

/// A started command, in a process group of its own. Its output is collected by reader threads.
class RunningCommand {
public:
    /// `prepare` runs in the child before exec.
    explicit RunningCommand(std::vector<std::string> words, const std::string& input = "",
                            const std::function<void()>& prepare = {});
    ~RunningCommand();
    RunningCommand(const RunningCommand&) = delete;
    RunningCommand& operator=(const RunningCommand&) = delete;

    [[nodiscard]] pid_t pid() const noexcept { return pid_; }
    /// Waits until standard output holds `text`; false: it ended without.
    bool wait_for_output(const std::string& text);
    /// What is on standard output so far.
    [[nodiscard]] std::string output() const;
    Outcome wait();

private:
    struct State;
    pid_t pid_ = -1;
    State* state_;
};

/// `taskwork WORDS...`
std::vector<std::string> taskwork_words(std::vector<std::string> words);
/// Runs it to its end.
Outcome taskwork(std::vector<std::string> words, const std::function<void()>& prepare = {});
/// The path of a test's or an example's object.
std::string object_path(const std::string& name);
/// A file name in a fresh folder, removed when the test ends.
class TemporaryFolder {
public:
    TemporaryFolder();
    ~TemporaryFolder();
    [[nodiscard]] std::string file(const std::string& name) const { return path_ + "/" + name; }

private:
    std::string path_;
};
/// `taskwork run OPTIONS... OBJECT -- COMMAND...`, its report in `*report`.
Outcome run_with_report(std::vector<std::string> options, const std::string& object,
                        std::vector<std::string> command, nlohmann::json* report,
                        const std::function<void()>& prepare = {});
/// For `prepare`: makes a system call fail in this process and its children, as a container's
/// profile does.
void refuse_call(long number, int error);
/// Expects that every schedule of the report that returned 0 has come to exactly one end.
void expect_balance(const nlohmann::json& report);

}  // namespace taskwork::test
