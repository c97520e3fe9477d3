// SPDX-License-Identifier: Apache-2.0
//
// Whether the kernel under us can be the reference: Linux 6.18 or later with BTF, as root.
#pragma once

#include <linux/capability.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cstdio>
#include <string>

namespace taskwork::test {

/// Why not; empty if it can be.
inline std::string no_reference_because() {
    utsname system{};
    uname(&system);
    int major = 0;
    int minor = 0;
    std::sscanf(system.release, "%d.%d", &major, &minor);
    if (major < 6 || (major == 6 && minor < 18)) {
        return std::string("the kernel is ") + system.release + ", task work needs 6.18";
    }
    __user_cap_header_struct header{.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct data[2] = {};
    syscall(SYS_capget, &header, data);
    auto effective = [&](unsigned capability) {
        return (data[capability / 32].effective >> (capability % 32) & 1) != 0;
    };
    if (!effective(CAP_SYS_ADMIN) && !(effective(CAP_BPF) && effective(CAP_PERFMON))) {
        return "loading into the kernel needs root (CAP_BPF and CAP_PERFMON)";
    }
    if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
        return "the kernel has no BTF (/sys/kernel/btf/vmlinux)";
    }
    char space[64] = {};
    if (readlink("/proc/self/ns/pid", space, sizeof(space) - 1) < 0 ||
        std::string(space) != "pid:[4026531836]") {
        return "in a container, whose process ids are not the kernel's";
    }
    return {};
}

}  // namespace taskwork::test
