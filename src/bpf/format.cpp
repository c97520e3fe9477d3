// SPDX-License-Identifier: Apache-2.0
#include "bpf/format.hpp"

#include <cerrno>
#include <cstring>

#include "bpf/helpers.hpp"

namespace taskwork::bpf {

namespace {

/// The walk over a format. A program may write its own format while it is printed, and so may
/// others: each byte is read once, and none at or behind the end that was found first. There, and
/// at a NUL that has come up before, the walk stays, on '\0'.
class Cursor {
public:
    Cursor(const char* begin, const char* end) noexcept : next_(begin), end_(end) { take(); }

    [[nodiscard]] char peek() const noexcept { return byte_; }
    char take() noexcept {
        const char taken = byte_;
        byte_ = next_ < end_ ? __atomic_load_n(next_, __ATOMIC_RELAXED) : '\0';
        next_ = byte_ == '\0' ? end_ : next_ + 1;
        return taken;
    }
    bool try_take(char wanted) noexcept {
        const bool found = byte_ == wanted && byte_ != '\0';
        if (found) {
            take();
        }
        return found;
    }

private:
    const char* next_;
    const char* end_;
    char byte_ = '\0';
};

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

void put_string(Machine* machine, Text& text, const Directive& directive, std::uint64_t address,
                StringKind kind) noexcept {
    if (machine == nullptr) {
        return;
    }
    char string[kStringMax];
    long length = -EFAULT;
    const bool in_kernel = machine->may_read(address, 1);
    if (kind == StringKind::any || (kind == StringKind::kernel) == in_kernel) {
        length = read_any_string(*machine, string, address, sizeof(string));
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

/// False: the width is too large.
bool take_flags_and_width(Cursor& at, Directive& directive) noexcept {
    for (char flag = at.peek(); flag == '0' || flag == '+' || flag == '-' || flag == ' ';
         flag = at.peek()) {
        directive.zeros = directive.zeros || flag == '0';
        directive.left = directive.left || flag == '-';
        directive.sign =
            flag == '+' || (flag == ' ' && directive.sign == '\0') ? flag : directive.sign;
        at.take();
    }
    while (is_digit(at.peek())) {
        directive.width = directive.width * 10 + static_cast<std::size_t>(at.take() - '0');
        if (directive.width > kStringMax) {
            return false;
        }
    }
    return true;
}

/// What follows %p. False: there is no such directive.
bool put_pointer(Machine* machine, Text& text, const Directive& directive, Cursor& at,
                 std::uint64_t argument) noexcept {
    if (at.peek() == 'k' || at.peek() == 'u') {
        const StringKind kind = at.take() == 'k' ? StringKind::kernel : StringKind::user;
        if (!at.try_take('s')) {
            return false;
        }
        put_string(machine, text, directive, argument, kind);
        return true;
    }
    if (!at.try_take('x') && !at.try_take('K') && !may_follow_pointer(at.peek())) {
        return false;
    }
    put_number(text, Directive{.zeros = true, .width = 16}, argument, 16, false, '\0');
    return true;
}

/// A directive behind its flags and width. False: there is no such directive.
bool put_directive(Machine* machine, Text& text, const Directive& directive, Cursor& at,
                   std::uint64_t argument) noexcept {
    const bool wide = at.try_take('l');
    if (wide) {
        at.try_take('l');
    }
    const char conversion = at.take();
    switch (conversion) {
    case 'd':
    case 'i':
    case 'u':
    case 'x':
    case 'X':
        put_integer(text, directive, argument, wide, conversion);
        return true;
    default:
        break;
    }
    if (wide) {
        return false;
    }
    switch (conversion) {
    case 's':
        put_string(machine, text, directive, argument, StringKind::any);
        return true;
    case 'c': {
        const char character = static_cast<char>(argument);
        put_padded(text, directive, &character, 1, '\0');
        return true;
    }
    case 'p':
        return put_pointer(machine, text, directive, at, argument);
    default:
        return false;
    }
}

/// `machine` nullptr: only checks, whatever the arguments.
long write(Machine* machine, char* out, std::size_t size, const char* format,
           std::size_t format_size, const std::uint64_t* arguments, std::size_t count) noexcept {
    const void* end = format_size == 0 ? nullptr : std::memchr(format, 0, format_size);
    if (end == nullptr) {
        return -EINVAL;
    }
    Text text(out, size);
    std::size_t used = 0;
    Cursor at(format, static_cast<const char*>(end));
    while (at.peek() != '\0') {
        const char plain = at.take();
        const bool white = plain >= '\t' && plain <= '\r';
        if (!white && (plain < ' ' || plain > '~')) {
            return -EINVAL;
        }
        if (plain != '%' || at.try_take('%')) {
            text.put(plain);
            continue;
        }
        Directive directive;
        if (used == count || !take_flags_and_width(at, directive) ||
            !put_directive(machine, text, directive, at,
                           machine == nullptr ? 0 : arguments[used])) {
            return -EINVAL;
        }
        ++used;
    }
    return text.finish();
}

}  // namespace

long format_text(Machine& machine, char* out, std::size_t size, const char* format,
                 std::size_t format_size, const std::uint64_t* arguments,
                 std::size_t count) noexcept {
    return write(&machine, out, size, format, format_size, arguments, count);
}

bool is_format(const char* format, std::size_t format_size, std::size_t count) noexcept {
    return write(nullptr, nullptr, 0, format, format_size, nullptr, count) >= 0;
}

}  // namespace taskwork::bpf
