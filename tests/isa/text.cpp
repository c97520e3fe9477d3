// SPDX-License-Identifier: Apache-2.0
#include "tests/isa/text.hpp"

#include <charconv>

#include "bpf/instruction.hpp"

namespace taskwork::isa {

namespace {

bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}
bool is_blank(char c) { return c == ' ' || c == '\t'; }

}  // namespace

Result<std::vector<std::uint8_t>> bytes_of_hex(const std::string& text) {
    std::vector<std::uint8_t> bytes;
    std::string digits;
    for (const char c : text) {
        if (is_blank(c) || c == '\n' || c == '\r') {
            continue;
        }
        digits += c;
        if (digits.size() < 2) {
            continue;
        }
        std::uint8_t byte = 0;
        const auto [end, error] = std::from_chars(digits.data(), digits.data() + 2, byte, 16);
        if (error != std::errc{} || end != digits.data() + 2) {
            return Error{std::errc::invalid_argument, "'" + digits + "' is no hexadecimal byte"};
        }
        bytes.push_back(byte);
        digits.clear();
    }
    if (!digits.empty()) {
        return Error{std::errc::invalid_argument, "an odd number of hexadecimal digits"};
    }
    return bytes;
}

std::string hex_of(const std::vector<std::uint8_t>& bytes) {
    std::string text;
    for (const std::uint8_t byte : bytes) {
        text += (text.empty() ? "" : " ") + bpf::hex_byte(byte);
    }
    return text;
}

Result<std::uint64_t> parse_number(const std::string& text) {
    const Error error{std::errc::invalid_argument, "'" + text + "' is no number of 64 bits"};
    std::string_view digits = text;
    const bool negative = digits.starts_with('-');
    if (negative || digits.starts_with('+')) {
        digits.remove_prefix(1);
    }
    const int base = digits.starts_with("0x") ? 16 : 10;
    if (base == 16) {
        digits.remove_prefix(2);
    }
    std::uint64_t value = 0;
    const char* const last = digits.data() + digits.size();
    const auto [end, status] = std::from_chars(digits.data(), last, value, base);
    if (digits.empty() || status != std::errc{} || end != last ||
        (negative && value > std::uint64_t{1} << 63)) {
        return error;
    }
    return negative ? 0 - value : value;
}

// ---- Text ---------------------------------------------------------------------------------------

void Text::skip_blanks() {
    while (!rest_.empty() && is_blank(rest_[0])) {
        rest_.remove_prefix(1);
    }
}

bool Text::take(std::string_view token) {
    skip_blanks();
    const bool found =
        rest_.starts_with(token) &&
        !(is_word(token.back()) && rest_.size() > token.size() && is_word(rest_[token.size()]));
    if (found) {
        rest_.remove_prefix(token.size());
    }
    return found;
}

void Text::need(std::string_view token) {
    if (!take(token)) {
        fail("'" + std::string(token) + "'");
    }
}

std::string_view Text::take_word() {
    skip_blanks();
    std::size_t length = 0;
    while (length < rest_.size() && is_word(rest_[length])) {
        ++length;
    }
    const std::string_view word = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return word;
}

std::optional<unsigned> Text::take_register(char letter) {
    const std::string_view before = rest_;
    const std::string_view word = take_word();
    unsigned number = 0;
    if (word.size() >= 2 && word[0] == letter) {
        const auto [end, error] =
            std::from_chars(word.data() + 1, word.data() + word.size(), number);
        if (error == std::errc{} && end == word.data() + word.size() && number < 16) {
            return number;
        }
    }
    rest_ = before;
    return std::nullopt;
}

unsigned Text::need_register(char letter) {
    const std::optional<unsigned> found = take_register(letter);
    if (!found) {
        fail(std::string("a register ") + letter + "0 to " + letter + "15");
    }
    return *found;
}

std::uint64_t Text::need_number() {
    skip_blanks();
    std::size_t length = !rest_.empty() && (rest_[0] == '-' || rest_[0] == '+') ? 1 : 0;
    while (length < rest_.size() && is_word(rest_[length])) {
        ++length;
    }
    const Result<std::uint64_t> number = parse_number(std::string(rest_.substr(0, length)));
    if (!number) {
        fail("a number");
    }
    rest_.remove_prefix(length);
    return *number;
}

std::int32_t Text::to_immediate(std::uint64_t number) {
    const auto value = static_cast<std::int64_t>(number);
    if (value < INT32_MIN || value > std::int64_t{UINT32_MAX}) {
        throw Wrong("the immediate has more than 32 bits");
    }
    return static_cast<std::int32_t>(static_cast<std::uint32_t>(number));
}

std::int16_t Text::need_offset() {
    const auto value = static_cast<std::int64_t>(need_number());
    if (value < INT16_MIN || value > INT16_MAX) {
        throw Wrong("the offset has more than 16 bits");
    }
    return static_cast<std::int16_t>(value);
}

bool Text::at_end() {
    skip_blanks();
    return rest_.empty();
}

char Text::next() {
    skip_blanks();
    return rest_.empty() ? '\0' : rest_[0];
}

void Text::fail(const std::string& wanted) {
    skip_blanks();
    throw Wrong("expected " + wanted + " before '" + std::string(rest_) + "'");
}

}  // namespace taskwork::isa
