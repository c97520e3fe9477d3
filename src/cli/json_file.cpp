// SPDX-License-Identifier: Apache-2.0
#include "cli/json_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace taskwork::cli {

JsonFile::~JsonFile() {
    if (descriptor_ >= 0) {
        ::close(descriptor_);
    }
    if (is_new_) {
        ::unlink(path_.c_str());
    }
}

Result<void> JsonFile::open(const std::string& path) {
    path_ = path;
    if (path.empty() || path == "-") {
        return {};
    }
    descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    is_new_ = descriptor_ >= 0;
    if (descriptor_ < 0 && errno == EEXIST) {
        descriptor_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    }
    if (descriptor_ < 0) {
        return Error{last_errc(), fmt::format("--json={}: {}", path, std::strerror(errno))};
    }
    return {};
}

Result<void> JsonFile::write(const std::string& text) {
    const int fd = path_ == "-" ? STDOUT_FILENO : descriptor_;
    bool failed = path_ != "-" && ::ftruncate(fd, 0) != 0 && errno != EINVAL;  // EINVAL: a pipe
    for (std::size_t at = 0; !failed && at < text.size();) {
        const ssize_t written = ::write(fd, text.data() + at, text.size() - at);
        failed = written < 0 && errno != EINTR;
        at += static_cast<std::size_t>(written > 0 ? written : 0);
    }
    if (failed || (path_ != "-" && ::close(std::exchange(descriptor_, -1)) != 0)) {
        return Error{last_errc(), fmt::format("--json={}: {}", path_, std::strerror(errno))};
    }
    is_new_ = false;
    return {};
}

}  // namespace taskwork::cli
