// SPDX-License-Identifier: Apache-2.0
#include "cli/descriptor_limit.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace taskwork::cli {

namespace {

/// Of `count` more descriptors, how many can be had; errno says why no more.
unsigned can_be_had(unsigned count) {
    std::vector<int> descriptors;
    descriptors.reserve(count);
    while (descriptors.size() < count) {
        const int descriptor = ::open("/", O_PATH | O_CLOEXEC);
        if (descriptor < 0) {
            break;
        }
        descriptors.push_back(descriptor);
    }
    const int error = errno;
    for (const int descriptor : descriptors) {
        ::close(descriptor);
    }
    errno = error;
    return static_cast<unsigned>(descriptors.size());
}

}  // namespace

DescriptorLimit::DescriptorLimit() noexcept {
    ::getrlimit(RLIMIT_NOFILE, &found_);
    wanted_ = found_;
}

Result<void> DescriptorLimit::reserve(unsigned count) {
    unsigned had = can_be_had(count);
    if (had < count && errno == EMFILE && wanted_.rlim_cur < wanted_.rlim_max) {
        wanted_.rlim_cur = wanted_.rlim_max;
        raise_again();
        had = can_be_had(count);
    }
    if (had == count) {
        return {};
    }
    if (errno != EMFILE) {
        return Error{last_errc(), fmt::format("descriptors: {}", std::strerror(errno))};
    }
    return Error{
        std::errc::too_many_files_open,
        fmt::format("too few descriptors (ulimit -n {}): {} can be had, run needs about {}",
                    wanted_.rlim_max, had, count)};
}

void DescriptorLimit::restore() const noexcept { ::setrlimit(RLIMIT_NOFILE, &found_); }

void DescriptorLimit::raise_again() const noexcept {
    if (wanted_.rlim_cur != found_.rlim_cur) {
        ::setrlimit(RLIMIT_NOFILE, &wanted_);
    }
}

}  // namespace taskwork::cli
