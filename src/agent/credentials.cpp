// SPDX-License-Identifier: Apache-2.0
#include "agent/credentials.hpp"

#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>

#include "agent/join.hpp"

namespace taskwork::agent {

namespace {

/// libc's own.
struct Functions {
    int (*setuid)(uid_t);
    int (*seteuid)(uid_t);
    int (*setreuid)(uid_t, uid_t);
    int (*setresuid)(uid_t, uid_t, uid_t);
    int (*setgid)(gid_t);
    int (*setegid)(gid_t);
    int (*setregid)(gid_t, gid_t);
    int (*setresgid)(gid_t, gid_t, gid_t);
    int (*setgroups)(std::size_t, const gid_t*);
    int (*initgroups)(const char*, gid_t);
};
constinit Functions functions{};

template <class Function>
void find(Function*& function, const char* name) noexcept {
    function = reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

// Before anything can call them: the child of a vfork may, and must not write here.
__attribute__((constructor(101))) void find_all() noexcept {
    find(functions.setuid, "setuid");
    find(functions.seteuid, "seteuid");
    find(functions.setreuid, "setreuid");
    find(functions.setresuid, "setresuid");
    find(functions.setgid, "setgid");
    find(functions.setegid, "setegid");
    find(functions.setregid, "setregid");
    find(functions.setresgid, "setresgid");
    find(functions.setgroups, "setgroups");
    find(functions.initgroups, "initgroups");
}

const Functions& libc_credentials() noexcept {
    if (functions.initgroups == nullptr) {
        find_all();  // a library that is initialised before us
    }
    return functions;
}

IdSet users() noexcept {
    IdSet ids{};
    ::getresuid(&ids.real, &ids.effective, &ids.saved);
    return ids;
}

IdSet groups() noexcept {
    IdSet ids{};
    ::getresgid(&ids.real, &ids.effective, &ids.saved);
    return ids;
}

/// Root, for want of a look at capabilities; a process with CAP_SETUID alone is seen by the ids it
/// asks for only where they are its own.
bool is_privileged() noexcept { return ::geteuid() == 0; }

void before_change(const IdSet& current, const IdSet& requested) noexcept {
    if (takes_effect(current, requested, is_privileged())) {
        const int errno_before = errno;
        leave_domain();
        errno = errno_before;
    }
}

}  // namespace

IdSet requested_by_setuid(uid_t id, bool privileged) noexcept {
    return privileged ? IdSet{id, id, id} : IdSet{kUnchanged, id, kUnchanged};
}

IdSet requested_by_setreuid(const IdSet& current, uid_t real, uid_t effective) noexcept {
    const uid_t effective_then = effective == kUnchanged ? current.effective : effective;
    const bool saves = real != kUnchanged || (effective != kUnchanged && effective != current.real);
    return {real, effective, saves ? effective_then : kUnchanged};
}

bool takes_effect(const IdSet& current, const IdSet& requested, bool privileged) noexcept {
    const auto is_own = [&](uid_t id) {
        return id == kUnchanged || id == current.real || id == current.effective ||
               id == current.saved;
    };
    const auto differs = [](uid_t id, uid_t from) { return id != kUnchanged && id != from; };
    const bool granted = privileged || (is_own(requested.real) && is_own(requested.effective) &&
                                        is_own(requested.saved));
    return granted && (differs(requested.real, current.real) ||
                       differs(requested.effective, current.effective) ||
                       differs(requested.saved, current.saved));
}

int application_setuid(uid_t user) noexcept {
    if (in_domain()) {
        before_change(users(), requested_by_setuid(user, is_privileged()));
    }
    return libc_credentials().setuid(user);
}

int application_seteuid(uid_t user) noexcept {
    if (in_domain()) {
        before_change(users(), {kUnchanged, user, kUnchanged});
    }
    return libc_credentials().seteuid(user);
}

int application_setreuid(uid_t real, uid_t effective) noexcept {
    if (in_domain()) {
        before_change(users(), requested_by_setreuid(users(), real, effective));
    }
    return libc_credentials().setreuid(real, effective);
}

int application_setresuid(uid_t real, uid_t effective, uid_t saved) noexcept {
    if (in_domain()) {
        before_change(users(), {real, effective, saved});
    }
    return libc_credentials().setresuid(real, effective, saved);
}

int application_setgid(gid_t group) noexcept {
    if (in_domain()) {
        before_change(groups(), requested_by_setuid(group, is_privileged()));
    }
    return libc_credentials().setgid(group);
}

int application_setegid(gid_t group) noexcept {
    if (in_domain()) {
        before_change(groups(), {kUnchanged, group, kUnchanged});
    }
    return libc_credentials().setegid(group);
}

int application_setregid(gid_t real, gid_t effective) noexcept {
    if (in_domain()) {
        before_change(groups(), requested_by_setreuid(groups(), real, effective));
    }
    return libc_credentials().setregid(real, effective);
}

int application_setresgid(gid_t real, gid_t effective, gid_t saved) noexcept {
    if (in_domain()) {
        before_change(groups(), {real, effective, saved});
    }
    return libc_credentials().setresgid(real, effective, saved);
}

// Which supplementary groups a process has decides what files it may open, as its group does.

int application_setgroups(std::size_t count, const gid_t* list) noexcept {
    if (in_domain() && is_privileged()) {
        leave_domain();
    }
    return libc_credentials().setgroups(count, list);
}

int application_initgroups(const char* user, gid_t group) {
    if (in_domain() && is_privileged()) {
        leave_domain();
    }
    return libc_credentials().initgroups(user, group);
}

}  // namespace taskwork::agent
