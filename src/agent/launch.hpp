// SPDX-License-Identifier: Apache-2.0
//
// Starting COMMAND as a member of the calling host's domain: what it is (can the preload library
// enter it?), where the preload library is, the environment that names the domain, and the start
// itself, with env(1)'s exit statuses for what goes wrong.
#pragma once

#include <csignal>
#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace taskwork::agent {

/// Names the domain to members: "host pid:descriptor of the memfd there:its inode:cookie in hex".
inline constexpr char kDomainVariable[] = "TASKWORK_DOMAIN";
/// Path of the preload library, if it is not where find_preload_library() looks.
inline constexpr char kPreloadVariable[] = "TASKWORK_AGENT";

/// env(1)'s exit statuses.
inline constexpr int kExitCannotRun = 126;
inline constexpr int kExitNotFound = 127;

/// Whether the dynamic linker will load the preload library into a program.
enum class Entry {
    yes,
    static_program,   ///< No dynamic linker (Go programs, for the most part).
    foreign_libc,     ///< A dynamic linker that is not glibc's (musl).
    foreign_machine,  ///< Not x86-64, 32-bit x86 included.
    privileged,       ///< Set-user-id, set-group-id or with file capabilities: it is not preloaded.
    unknown_format,   ///< Neither ELF nor a script; exec or a shell decides.
};

struct Inspection {
    std::string path;  ///< The program in question; for a script its last interpreter.
    Entry entry = Entry::yes;
    std::string reason;  ///< One line naming cause and object; empty for Entry::yes.
};

/// The file that exec would run for `name`: itself if it holds a slash, else found in PATH.
/// Errors: no_such_file_or_directory (exit status kExitNotFound), permission_denied (found, but not
/// executable, or a directory: kExitCannotRun).
/// Context: task.
Result<std::string> find_command(const std::string& name);

/// Looks at a program before it is started. A script is followed to its interpreter. Errors:
/// no_such_file_or_directory, permission_denied (cannot be read: nothing can be said of it).
/// Context: task.
Result<Inspection> inspect_command(const std::string& path);

/// The preload library: $TASKWORK_AGENT, else libtaskwork-agent.so beside the running executable,
/// in ../lib/taskwork or in ../lib. The name is absolute. Errors: no_such_file_or_directory.
/// Context: task.
Result<std::string> find_preload_library();

/// The value of TASKWORK_DOMAIN for this process's arena. Precondition: sync::Arena::is_host().
/// Context: task.
std::string domain_name();

/// `environment` (as environ) with the preload library before whatever LD_PRELOAD names already,
/// and the domain.
/// Context: task.
std::vector<std::string> member_environment(const char* const* environment,
                                            std::string_view preload_library,
                                            std::string_view domain);

struct LaunchSpec {
    std::string path;                      ///< As find_command() gave it.
    std::vector<std::string> arguments;    ///< argv, argv[0] included.
    std::vector<std::string> environment;  ///< As member_environment() gave it.
    const sigset_t* mask = nullptr;        ///< Signal mask of the command; nullptr: the caller's.
    const sigset_t* defaults = nullptr;    ///< Signals that the caller has made its own.
};

/// Starts the command with the caller's standard descriptors, process group and limits. A file
/// that is no executable format is given to /bin/sh, as execvp does. Errors: exec's, the text
/// naming the command; exit_status_of() gives the status to end with.
/// Context: task.
Result<pid_t> launch(const LaunchSpec& spec);

/// kExitNotFound for no_such_file_or_directory and not_a_directory, else kExitCannotRun.
/// Context: any.
int exit_status_of(std::errc error) noexcept;

}  // namespace taskwork::agent
