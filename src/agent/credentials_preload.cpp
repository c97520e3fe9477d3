// SPDX-License-Identifier: Apache-2.0
//
// libc's functions that change credentials.
#include <grp.h>
#include <unistd.h>

#include "agent/credentials.hpp"

#define TW_EXPORT extern "C" __attribute__((visibility("default")))

using namespace taskwork::agent;

TW_EXPORT int setuid(uid_t user) noexcept { return application_setuid(user); }
TW_EXPORT int seteuid(uid_t user) noexcept { return application_seteuid(user); }
TW_EXPORT int setreuid(uid_t real, uid_t effective) noexcept {
    return application_setreuid(real, effective);
}
TW_EXPORT int setresuid(uid_t real, uid_t effective, uid_t saved) noexcept {
    return application_setresuid(real, effective, saved);
}
TW_EXPORT int setgid(gid_t group) noexcept { return application_setgid(group); }
TW_EXPORT int setegid(gid_t group) noexcept { return application_setegid(group); }
TW_EXPORT int setregid(gid_t real, gid_t effective) noexcept {
    return application_setregid(real, effective);
}
TW_EXPORT int setresgid(gid_t real, gid_t effective, gid_t saved) noexcept {
    return application_setresgid(real, effective, saved);
}
TW_EXPORT int setgroups(size_t count, const gid_t* groups) noexcept {
    return application_setgroups(count, groups);
}
TW_EXPORT int initgroups(const char* user, gid_t group) {
    return application_initgroups(user, group);
}
