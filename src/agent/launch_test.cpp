// SPDX-License-Identifier: Apache-2.0
#include "agent/launch.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "agent/join.hpp"
#include "sync/arena.hpp"

namespace taskwork::agent {
namespace {

class Launch : public ::testing::Test {
protected:
    Launch() {
        std::string pattern = ::testing::TempDir() + "taskwork-launch-XXXXXX";
        EXPECT_NE(::mkdtemp(pattern.data()), nullptr);
        folder_ = pattern;
    }
    ~Launch() override {
        for (const std::string& name : made_) {
            ::unlink(name.c_str());
        }
        ::rmdir(folder_.c_str());
    }

    std::string make(const std::string& name, const std::string& content, mode_t mode = 0755) {
        const std::string path = folder_ + "/" + name;
        std::ofstream(path, std::ios::binary) << content;
        ::chmod(path.c_str(), mode);
        made_.push_back(path);
        return path;
    }

    /// A copy of this test's own program, changed.
    template <class Change>
    std::string make_program(const std::string& name, Change change) {
        std::ifstream self("/proc/self/exe", std::ios::binary);
        std::string bytes{std::istreambuf_iterator<char>(self), std::istreambuf_iterator<char>()};
        change(bytes);
        return make(name, bytes);
    }

    static int run(const LaunchSpec& spec) {
        const Result<pid_t> pid = launch(spec);
        if (!pid) {
            return -1;
        }
        int status = 0;
        EXPECT_EQ(::waitpid(*pid, &status, 0), *pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -2;
    }

    std::string folder_;
    std::vector<std::string> made_;
};

TEST_F(Launch, a_name_without_slash_is_looked_for_in_path) {
    const auto found = find_command("sh");
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(::access(found->c_str(), X_OK), 0);
    EXPECT_EQ(exit_status_of(find_command("no-such-command-here").error().code), kExitNotFound);
    EXPECT_EQ(exit_status_of(find_command("").error().code), kExitNotFound);
}

TEST_F(Launch, a_name_with_slash_is_taken_as_it_is) {
    const std::string program = make("program", "#!/bin/sh\n");
    EXPECT_EQ(*find_command(program), program);
    EXPECT_EQ(exit_status_of(find_command(folder_ + "/missing").error().code), kExitNotFound);
    EXPECT_EQ(exit_status_of(find_command(program + "/below").error().code), kExitNotFound);
    EXPECT_EQ(exit_status_of(find_command(folder_ + "/").error().code), kExitCannotRun);
    const std::string text = make("text", "not to be run", 0644);
    const auto refused = find_command(text);
    EXPECT_EQ(exit_status_of(refused.error().code), kExitCannotRun);
    EXPECT_THAT(refused.error().text, ::testing::HasSubstr(text));
}

TEST_F(Launch, a_dynamic_program_can_be_entered_and_so_can_a_script_of_one) {
    const auto program = inspect_command("/proc/self/exe");
    ASSERT_TRUE(program.has_value());
    EXPECT_EQ(program->entry, Entry::yes);
    EXPECT_EQ(program->reason, "");
    const std::string script = make("script", "#! /bin/sh -e\nexit 3\n");
    const auto inspected = inspect_command(script);
    ASSERT_TRUE(inspected.has_value());
    EXPECT_EQ(inspected->entry, Entry::yes);
    EXPECT_EQ(inspected->path, "/bin/sh");
}

TEST_F(Launch, a_script_without_its_interpreter_is_an_error_that_names_it) {
    const auto inspected = inspect_command(make("script", "#!/no/such/shell\n"));
    ASSERT_FALSE(inspected.has_value());
    EXPECT_THAT(inspected.error().text, ::testing::HasSubstr("/no/such/shell"));
}

TEST_F(Launch, a_program_without_a_dynamic_linker_cannot_be_entered) {
    const std::string path = make_program("static", [](std::string& bytes) {
        // The segment that names the linker becomes one of no meaning (PT_NULL).
        const std::size_t table = 64;
        for (std::size_t at = table; at < table + 16 * 56; at += 56) {
            if (bytes[at] == 3) {
                bytes[at] = 0;
            }
        }
    });
    const auto inspected = inspect_command(path);
    ASSERT_TRUE(inspected.has_value());
    EXPECT_EQ(inspected->entry, Entry::static_program);
    EXPECT_THAT(inspected->reason,
                ::testing::AllOf(::testing::HasSubstr(path), ::testing::HasSubstr("static")));
}

TEST_F(Launch, a_program_of_another_libc_or_machine_cannot_be_entered) {
    const std::string musl = make_program("musl", [](std::string& bytes) {
        const std::string linker = "/lib64/ld-linux-x86-64.so.2";
        bytes.replace(bytes.find(linker), linker.size(),
                      std::string("/lib/ld-musl-x86_64.so.1\0\0\0", linker.size()));
    });
    EXPECT_EQ(inspect_command(musl)->entry, Entry::foreign_libc);
    EXPECT_THAT(inspect_command(musl)->reason, ::testing::HasSubstr("ld-musl"));
    const std::string narrow = make_program("narrow", [](std::string& bytes) { bytes[4] = 1; });
    EXPECT_EQ(inspect_command(narrow)->entry, Entry::foreign_machine);
    const std::string arm = make_program("arm", [](std::string& bytes) { bytes[18] = '\xb7'; });
    EXPECT_EQ(inspect_command(arm)->entry, Entry::foreign_machine);
}

TEST_F(Launch, a_set_user_id_program_of_another_user_cannot_be_entered) {
    if (::getuid() != 0) {
        GTEST_SKIP() << "needs root, to make a file of another user";
    }
    const std::string path = make_program("setuid", [](std::string&) {});
    ASSERT_EQ(::chown(path.c_str(), 65534, 65534), 0);
    ASSERT_EQ(::chmod(path.c_str(), 04755), 0);
    const auto inspected = inspect_command(path);
    ASSERT_TRUE(inspected.has_value());
    EXPECT_EQ(inspected->entry, Entry::privileged);
}

TEST_F(Launch, what_is_neither_program_nor_script_is_left_to_the_shell) {
    const std::string path = make("lines", "exit 7\n");
    EXPECT_EQ(inspect_command(path)->entry, Entry::unknown_format);
    LaunchSpec spec;
    spec.path = path;
    spec.arguments = {path};
    EXPECT_EQ(run(spec), 7);
}

TEST_F(Launch, a_truncated_program_is_no_crash) {
    EXPECT_EQ(inspect_command(make("stub", std::string("\x7f"
                                                       "ELF\2\1\1",
                                                       7)))
                  ->entry,
              Entry::unknown_format);
    EXPECT_EQ(inspect_command(make("half", std::string("\x7f"
                                                       "ELF\2\1\1",
                                                       7) +
                                               std::string(20, '\0')))
                  ->entry,
              Entry::foreign_machine);
    EXPECT_EQ(inspect_command(make("empty", ""))->entry, Entry::unknown_format);
}

TEST_F(Launch, the_preload_library_goes_before_what_is_preloaded_already) {
    const char* environment[] = {"HOME=/", "LD_PRELOAD=/a.so:/b.so", "TASKWORK_DOMAIN=old",
                                 "TASKWORK_DOMAINS=kept", nullptr};
    EXPECT_THAT(member_environment(environment, "/agent.so", "1:2:3:4"),
                ::testing::UnorderedElementsAre("HOME=/", "LD_PRELOAD=/agent.so:/a.so:/b.so",
                                                "TASKWORK_DOMAINS=kept",
                                                "TASKWORK_DOMAIN=1:2:3:4"));
    const char* empty[] = {"LD_PRELOAD=", nullptr};
    EXPECT_THAT(member_environment(empty, "/agent.so", "1:2:3:4"),
                ::testing::UnorderedElementsAre("LD_PRELOAD=/agent.so", "TASKWORK_DOMAIN=1:2:3:4"));
}

TEST_F(Launch, the_command_gets_its_arguments_environment_and_signals) {
    sigset_t mask;
    sigemptyset(&mask);
    sigset_t before;
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    ::pthread_sigmask(SIG_BLOCK, &blocked, &before);
    LaunchSpec spec;
    spec.path = "/bin/sh";
    spec.arguments = {"sh", "-c", "grep -q 'SigBlk:.*0000$' /proc/self/status && exit $ANSWER"};
    spec.environment = {"ANSWER=42", "PATH=/bin:/usr/bin"};
    spec.mask = &mask;
    EXPECT_EQ(run(spec), 42);
    ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

TEST_F(Launch, a_command_that_cannot_be_started_is_an_error_that_names_it) {
    LaunchSpec spec;
    spec.path = folder_ + "/gone";
    spec.arguments = {"gone"};
    const auto pid = launch(spec);
    ASSERT_FALSE(pid.has_value());
    EXPECT_EQ(exit_status_of(pid.error().code), kExitNotFound);
    EXPECT_THAT(pid.error().text, ::testing::HasSubstr("gone"));
}

TEST_F(Launch, the_name_of_a_domain_is_read_as_it_was_written) {
    ASSERT_TRUE(sync::Arena::create(std::size_t{16} << 20).has_value());
    DomainAddress address;
    ASSERT_TRUE(parse_domain(domain_name().c_str(), address)) << domain_name();
    EXPECT_EQ(address.host_pid, ::getpid());
    EXPECT_EQ(address.descriptor, sync::Arena::descriptor());
    EXPECT_EQ(address.cookie, sync::Arena::header().cookie);
    struct stat status{};
    ASSERT_EQ(::fstat(sync::Arena::descriptor(), &status), 0);
    EXPECT_EQ(address.inode, status.st_ino);
    sync::Arena::destroy();
}

TEST_F(Launch, what_is_not_the_name_of_a_domain_is_refused) {
    DomainAddress address;
    for (const char* text :
         {"", ":", "1", "1:2", "1:2:3", "1:2:3:", "1:2:3:g", "1:2:3:4:", " 1:2:3:4", "-1:2:3:4",
          "1:-2:3:4", "1:2:+3:4", "4294967296:2:3:4", "1:2:99999999999999999999:4", "0x1:2:3:4"}) {
        EXPECT_FALSE(parse_domain(text, address)) << text;
    }
    EXPECT_TRUE(parse_domain("1:2:3:ffffffffffffffff", address));
    EXPECT_EQ(address.cookie, UINT64_MAX);
}

}  // namespace
}  // namespace taskwork::agent
