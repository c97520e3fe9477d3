// SPDX-License-Identifier: Apache-2.0
//
// Which sanitizer this build carries: they take fixed address ranges, and ThreadSanitizer holds
// signals back.
#pragma once

namespace taskwork {

#if defined(__has_feature)  // clang
inline constexpr bool kThreadSanitizer = __has_feature(thread_sanitizer);
inline constexpr bool kAddressSanitizer = __has_feature(address_sanitizer);
#elif defined(__SANITIZE_THREAD__)  // g++
inline constexpr bool kThreadSanitizer = true;
inline constexpr bool kAddressSanitizer = false;
#elif defined(__SANITIZE_ADDRESS__)
inline constexpr bool kThreadSanitizer = false;
inline constexpr bool kAddressSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
inline constexpr bool kAddressSanitizer = false;
#endif

}  // namespace taskwork
