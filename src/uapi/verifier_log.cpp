// SPDX-License-Identifier: Apache-2.0
#include "uapi/verifier_log.hpp"

#include <algorithm>
#include <cerrno>

#include "uapi/user_memory.hpp"

namespace taskwork::uapi {
namespace {

constexpr std::uint32_t kLevelFixed = 8;
constexpr std::uint32_t kLevelMask = 15;  // 1, 2: how much; 4: statistics; 8: fixed

}  // namespace

bool VerifierLog::is_valid() const noexcept {
    return (buffer_ != 0) == (size_ != 0) && (buffer_ == 0 || level_ != 0) &&
           (level_ & ~kLevelMask) == 0 && size_ <= UINT32_MAX >> 2;
}

long VerifierLog::finish(const std::string& text, long result) const {
    if (!is_read()) {
        return result;
    }
    const std::size_t length = std::min<std::size_t>(text.size(), size_ - 1);
    const char* begin = text.data();
    if ((level_ & kLevelFixed) == 0) {
        begin += text.size() - length;
    }
    if (copy_to_user(buffer_, begin, length) != no_error ||
        copy_to_user(buffer_ + length, "", 1) != no_error) {
        return -EFAULT;
    }
    return length < text.size() ? -ENOSPC : result;
}

}  // namespace taskwork::uapi
