// SPDX-License-Identifier: Apache-2.0
//
// Assertions for bugs of our own. They are legal in every context: the message goes out by one raw
// write, then the process aborts. They stay on in every build: each guards an invariant whose
// silent breach would corrupt memory shared by processes.
#pragma once

namespace taskwork {

/// Prints "taskwork: FILE:LINE: TEXT" to standard error and aborts.
/// Context: any.
[[noreturn]] void assertion_failed(const char* text, const char* file, int line) noexcept;

}  // namespace taskwork

/// States an invariant. The text should say the invariant, not repeat the code.
#define TW_ASSERT(condition, text)                                                                 \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0)) {                                                   \
            ::taskwork::assertion_failed((text), __FILE__, __LINE__);                              \
        }                                                                                          \
    } while (false)
