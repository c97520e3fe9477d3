// SPDX-License-Identifier: Apache-2.0
//
// Changes of credentials. The processes of a domain are of one set of credentials, because each can
// write the memory of all: before a process takes on others (a daemon that drops its privileges,
// su) it leaves the domain. A call that changes nothing, or that the kernel will refuse, is let
// through as it is. Raw system calls are not seen.
#pragma once

#include <sys/types.h>

#include <cstddef>

namespace taskwork::agent {

/// An identity as the kernel keeps it; in a request, kUnchanged leaves an id as it is.
struct IdSet {
    uid_t real;
    uid_t effective;
    uid_t saved;
};
inline constexpr uid_t kUnchanged = static_cast<uid_t>(-1);

/// What the calls ask for, given the ids that are. `privileged`: the caller may take any id.
/// Context: any.
IdSet requested_by_setuid(uid_t id, bool privileged) noexcept;
IdSet requested_by_setreuid(const IdSet& current, uid_t real, uid_t effective) noexcept;

/// Whether a request changes something and will be granted.
/// Context: any.
bool takes_effect(const IdSet& current, const IdSet& requested, bool privileged) noexcept;

/// setuid(2) and its kin for the application.
/// Context: task. May leave the domain, see leave_domain().
int application_setuid(uid_t user) noexcept;
int application_seteuid(uid_t user) noexcept;
int application_setreuid(uid_t real, uid_t effective) noexcept;
int application_setresuid(uid_t real, uid_t effective, uid_t saved) noexcept;
int application_setgid(gid_t group) noexcept;
int application_setegid(gid_t group) noexcept;
int application_setregid(gid_t real, gid_t effective) noexcept;
int application_setresgid(gid_t real, gid_t effective, gid_t saved) noexcept;
int application_setgroups(std::size_t count, const gid_t* groups) noexcept;
int application_initgroups(const char* user, gid_t group);

}  // namespace taskwork::agent
