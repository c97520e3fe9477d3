// SPDX-License-Identifier: Apache-2.0
//
// What is wrong is said in one line that names cause and object; nothing is started.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::StartsWith;

/// One line, ours, holding all parts; nothing on standard output.
void expect_one_line(const Outcome& outcome, int status, const std::vector<std::string>& parts) {
    EXPECT_EQ(outcome.exit_status, status) << outcome.error;
    EXPECT_THAT(outcome.error, StartsWith("taskwork: "));
    EXPECT_EQ(std::count(outcome.error.begin(), outcome.error.end(), '\n'), 1) << outcome.error;
    for (const std::string& part : parts) {
        EXPECT_THAT(outcome.error, HasSubstr(part));
    }
    EXPECT_EQ(outcome.out, "");
}

/// The command would say so if it were started.
Outcome run_object(const std::string& path) {
    return taskwork({"run", path, "--", "echo", "started"});
}

Outcome run_command(std::vector<std::string> command, const std::function<void()>& prepare = {}) {
    std::vector<std::string> words = {"run", object_path("hash_resume"), "--"};
    words.insert(words.end(), command.begin(), command.end());
    return taskwork(words, prepare);
}

TEST(CliErrors, an_object_that_is_missing) {
    expect_one_line(run_object("/nowhere/x.bpf.o"), 125,
                    {"/nowhere/x.bpf.o", "No such file or directory"});
}

TEST(CliErrors, an_object_that_is_a_folder) {
    expect_one_line(run_object("/usr"), 125, {"/usr", "directory"});
}

TEST(CliErrors, an_object_that_is_not_elf) {
    expect_one_line(run_object("/etc/passwd"), 125, {"/etc/passwd", "not an ELF file"});
    expect_one_line(run_object("/dev/null"), 125, {"/dev/null", "not an ELF file"});
}

TEST(CliErrors, an_object_that_is_not_bpf) {
    expect_one_line(run_object("/bin/true"), 125, {"/bin/true", "not a BPF object"});
}

TEST(CliErrors, an_object_that_is_cut_short) {
    const TemporaryFolder folder;
    const std::string path = folder.file("cut.bpf.o");
    std::filesystem::copy_file(object_path("hash_resume"), path);
    std::filesystem::resize_file(path, 200);
    expect_one_line(run_object(path), 125, {path});
}

TEST(CliErrors, an_object_without_btf) {
    expect_one_line(run_object(object_path("fail_no_btf")), 125, {"fail_no_btf", "BTF"});
}

TEST(CliErrors, an_object_without_a_perf_event_program) {
    expect_one_line(run_object(object_path("fail_no_perf_event")), 125, {"no perf_event program"});
}

TEST(CliErrors, a_program_type_that_we_do_not_have_is_named) {
    expect_one_line(run_object(object_path("fail_unknown_program_xdp")), 125, {"xdp"});
}

TEST(CliErrors, a_helper_that_we_do_not_have_is_named) {
    expect_one_line(run_object(object_path("fail_unknown_helper")), 125, {"bpf_send_signal"});
}

TEST(CliErrors, a_kernel_function_that_we_do_not_have_is_named) {
    expect_one_line(run_object(object_path("fail_unknown_kfunc")), 125,
                    {"bpf_taskwork_test_no_such_kfunc"});
}

TEST(CliErrors, a_map_type_that_we_do_not_have_is_named) {
    expect_one_line(run_object(object_path("fail_unknown_map_user_ringbuf")), 125,
                    {"user_ringbuf", "'inbox'"});
}

TEST(CliErrors, a_map_larger_than_the_memory_for_all_is_named) {
    expect_one_line(run_object(object_path("fail_large_map")), 125, {"too_large"});
}

TEST(CliErrors, a_command_that_is_missing_or_cannot_be_run_has_the_status_of_env) {
    expect_one_line(run_command({"no-such-command-anywhere"}), 127,
                    {"no-such-command-anywhere", "No such file"});
    expect_one_line(run_command({"/nowhere/command"}), 127, {"/nowhere/command"});
    expect_one_line(run_command({"/etc/passwd"}), 126, {"/etc/passwd", "denied"});
    expect_one_line(run_command({"/usr"}), 126, {"/usr"});
}

TEST(CliErrors, a_static_command_is_refused) {
    // ldconfig has to work without libraries.
    ASSERT_TRUE(std::filesystem::exists("/sbin/ldconfig"));
    expect_one_line(run_command({"/sbin/ldconfig", "-p"}), 125, {"/sbin/ldconfig", "static"});
}

TEST(CliErrors, a_set_user_id_command_is_refused) {
    const TemporaryFolder folder;
    std::string program = "/bin/su";
    if (::getuid() == 0) {  // root's own programs give root nothing
        program = folder.file("true");
        std::filesystem::copy_file("/bin/true", program);
        ASSERT_EQ(::chown(program.c_str(), 65534, 65534), 0);
        ASSERT_EQ(::chmod(program.c_str(), 04755), 0);
    }
    expect_one_line(run_command({program}), 125, {program, "set-user-id"});
}

TEST(CliErrors, a_frequency_out_of_range) {
    for (const char* frequency : {"0", "10001", "-5"}) {
        expect_one_line(taskwork({"run", std::string("--freq=") + frequency,
                                  object_path("hash_resume"), "--", "echo", "started"}),
                        125, {"--freq", frequency, "10000"});
    }
}

TEST(CliErrors, a_report_that_cannot_be_written) {
    expect_one_line(taskwork({"run", "--json=/nowhere/x.json", object_path("hash_resume"), "--",
                              "echo", "started"}),
                    125, {"/nowhere/x.json"});
}

TEST(CliErrors, a_report_of_a_run_that_failed_is_not_left_behind) {
    const TemporaryFolder folder;
    const std::string file = folder.file("report.json");
    expect_one_line(taskwork({"run", "--json=" + file, object_path("fail_unknown_helper"), "--",
                              "echo", "started"}),
                    125, {"bpf_send_signal"});
    EXPECT_FALSE(std::filesystem::exists(file));
    std::ofstream(file) << "mine";
    taskwork({"run", "--json=" + file, object_path("fail_unknown_helper"), "--", "true"});
    EXPECT_EQ(std::filesystem::file_size(file), 4u);
}

TEST(CliErrors, too_little_address_space) {
    expect_one_line(run_command({"echo", "started"},
                                [] {
                                    const rlimit limit{512 << 20, 512 << 20};
                                    ::setrlimit(RLIMIT_AS, &limit);
                                }),
                    125, {"address space"});
}

TEST(CliErrors, files_may_not_grow_to_the_size_of_the_arena) {
    expect_one_line(run_command({"echo", "started"},
                                [] {
                                    const rlimit limit{1 << 20, 1 << 20};
                                    ::setrlimit(RLIMIT_FSIZE, &limit);
                                }),
                    125, {"file"});
}

TEST(CliErrors, a_preload_library_that_is_missing) {
    expect_one_line(run_command({"echo", "started"},
                                [] { ::setenv("TASKWORK_AGENT", "/nowhere/agent.so", 1); }),
                    125, {"/nowhere/agent.so"});
}

TEST(CliErrors, a_command_line_that_makes_no_sense) {
    expect_one_line(taskwork({"record"}), 125, {"record"});
    expect_one_line(taskwork({"run", "x.bpf.o"}), 125, {"COMMAND"});
    expect_one_line(taskwork({}), 125, {"doctor"});
}

}  // namespace
}  // namespace taskwork::test
