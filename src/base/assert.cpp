// SPDX-License-Identifier: Apache-2.0
#include "base/assert.hpp"

#include <unistd.h>

#include <cstdlib>
#include <cstring>

namespace taskwork {

namespace {

/// Appends without allocation; what does not fit is cut off.
struct Line {
    char text[512];
    std::size_t size = 0;

    void add(const char* piece) noexcept {
        const std::size_t room = sizeof(text) - size;
        const std::size_t length = std::strlen(piece);
        const std::size_t taken = length < room ? length : room;
        std::memcpy(text + size, piece, taken);
        size += taken;
    }

    void add_number(unsigned number) noexcept {
        char digits[11];
        char* at = digits + sizeof(digits) - 1;
        *at = '\0';
        do {
            *--at = static_cast<char>('0' + number % 10);
            number /= 10;
        } while (number != 0);
        add(at);
    }
};

}  // namespace

void assertion_failed(const char* text, const char* file, int line) noexcept {
    Line message;
    message.add("taskwork: ");
    message.add(file);
    message.add(":");
    message.add_number(static_cast<unsigned>(line));
    message.add(": ");
    message.add(text);
    message.add("\n");
    // Nothing can be done about a failed write here.
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, message.text, message.size);
    std::abort();
}

}  // namespace taskwork
