// SPDX-License-Identifier: Apache-2.0
#include "bpf/format.hpp"

#include <cerrno>
#include <cstring>

#include "bpf/helpers.hpp"

namespace taskwork::bpf {

namespace {

/// Longest string that one %s prints; it passes through the stack of a handler.
constexpr std::size_t kStringMax = 256;

class Text {
public:
    Text(char* out, std::size_t size) noexcept : out_(out), size_(size) {}

    void put(char c) noexcept {
        if (length_ + 1 < size_) {
            out_[length_] = c;
        }
        ++length_;
    }
    void put(char c, std::size_t count) noexcept {
        for (std::size_t i = 0; i < count; ++i) {
            put(c);
        }
    }
    long finish() noexcept {
        if (size_ != 0) {
            out_[length_ < size_ ? length_ : size_ - 1] = '\0';
        }
        return static_cast<long>(length_);
    }

private:
    char* out_;
    std::size_t size_;
    std::size_t length_ = 0;
};

struct Directive {
    bool left = false;
    bool zeros = false;
    char sign = '\0';  ///< '+' or ' ' in front of what is not negative.
    std::size_t width = 0;
};

void put_padded(Text& text, const Directive& directive, const char* digits, std::size_t length,
                char sign) noexcept {
    const std::size_t whole = length + (sign != '\0' ? 1 : 0);
    const std::size_t padding = directive.width > whole ? directive.width - whole : 0;
    if (!directive.left && !directive.zeros) {
        text.put(' ', padding);
    }
    if (sign != '\0') {
        text.put(sign);
    }
    if (!directive.left && directive.zeros) {
        text.put('0', padding);
    }
    for (std::size_t i = 0; i < length; ++i) {
        text.put(digits[i]);
    }
    if (directive.left) {
        text.put(' ', padding);
    }
}

void put_number(Text& text, const Directive& directive, std::uint64_t value, unsigned base,
                bool upper, char sign) noexcept {
    const char* alphabet = upper ? "0123456789ABCDEF" : "0123456789abcdef";
    char digits[24];
    std::size_t at = sizeof(digits);
    do {
        digits[--at] = alphabet[value % base];
        value /= base;
    } while (value != 0);
    put_padded(text, directive, digits + at, sizeof(digits) - at, sign);
}

void put_integer(Text& text, const Directive& directive, std::uint64_t value, bool wide,
                 char conversion) noexcept {
    if (conversion == 'd' || conversion == 'i') {
        const auto number = wide ? static_cast<std::int64_t>(value)
                                 : std::int64_t{static_cast<std::int32_t>(value)};
        const auto magnitude = static_cast<std::uint64_t>(number);
        put_number(text, directive, number < 0 ? 0 - magnitude : magnitude, 10, false,
                   number < 0 ? '-' : directive.sign);
        return;
    }
    put_number(text, directive, wide ? value : static_cast<std::uint32_t>(value),
               conversion == 'u' ? 10 : 16, conversion == 'X', '\0');
}

enum class StringKind { any, kernel, user };

void put_string(Machine& machine, Text& text, const Directive& directive, std::uint64_t address,
                StringKind kind) noexcept {
    char string[kStringMax];
    long length = -EFAULT;
    const bool in_kernel = machine.may_read(address, 1);
    if (kind == StringKind::any || (kind == StringKind::kernel) == in_kernel) {
        length = read_any_string(machine, string, address, sizeof(string));
    }
    // Strings are padded with blanks whatever the flags.
    Directive blanks = directive;
    blanks.zeros = false;
    put_padded(text, blanks, string, length > 0 ? static_cast<std::size_t>(length) - 1 : 0, '\0');
}

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }
bool may_follow_pointer(char c) noexcept {
    // The end, white space, or punctuation.
    return c == '\0' || c == ' ' || (c >= '\t' && c <= '\r') || (c > ' ' && c < '0') ||
           (c > '9' && c < 'A') || (c > 'Z' && c < 'a') || (c > 'z' && c <= '~');
}

}  // namespace

long format_text(Machine& machine, char* out, std::size_t size, const char* format,
                 std::size_t format_size, const std::uint64_t* arguments,
                 std::size_t count) noexcept {
    const void* end = format_size == 0 ? nullptr : std::memchr(format, 0, format_size);
    if (end == nullptr) {
        return -EINVAL;
    }
    Text text(out, size);
    std::size_t used = 0;
    for (const char* at = format; at != end; ++at) {
        const bool white = *at >= '\t' && *at <= '\r';
        if (!white && (*at < ' ' || *at > '~')) {
            return -EINVAL;
        }
        if (*at != '%') {
            text.put(*at);
            continue;
        }
        if (at[1] == '%') {
            text.put('%');
            ++at;
            continue;
        }
        if (used == count) {
            return -EINVAL;
        }
        const std::uint64_t argument = arguments[used++];

        Directive directive;
        for (++at; *at == '0' || *at == '+' || *at == '-' || *at == ' '; ++at) {
            directive.zeros = directive.zeros || *at == '0';
            directive.left = directive.left || *at == '-';
            directive.sign =
                *at == '+' || (*at == ' ' && directive.sign == '\0') ? *at : directive.sign;
        }
        for (; is_digit(*at); ++at) {
            directive.width = directive.width * 10 + static_cast<std::size_t>(*at - '0');
            if (directive.width > kStringMax) {
                return -EINVAL;
            }
        }

        if (*at == 's') {
            put_string(machine, text, directive, argument, StringKind::any);
        } else if (*at == 'c') {
            const char character = static_cast<char>(argument);
            put_padded(text, directive, &character, 1, '\0');
        } else if (*at == 'p') {
            if ((at[1] == 'k' || at[1] == 'u') && at[2] == 's') {
                put_string(machine, text, directive, argument,
                           at[1] == 'k' ? StringKind::kernel : StringKind::user);
                at += 2;
                continue;
            }
            if (at[1] == 'x' || at[1] == 'K') {
                ++at;
            } else if (!may_follow_pointer(at[1])) {
                return -EINVAL;
            }
            directive = Directive{.zeros = true, .width = 16};
            put_number(text, directive, argument, 16, false, '\0');
        } else {
            bool wide = false;
            for (int i = 0; i < 2 && *at == 'l'; ++i) {
                wide = true;
                ++at;
            }
            if (*at == '\0' || std::strchr("diuxX", *at) == nullptr) {
                return -EINVAL;
            }
            put_integer(text, directive, argument, wide, *at);
        }
    }
    return text.finish();
}

}  // namespace taskwork::bpf
