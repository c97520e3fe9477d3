// SPDX-License-Identifier: Apache-2.0
//
// Text of cases and of the plugin's protocol: numbers, bytes, and a line that is taken apart from
// left to right.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"

namespace taskwork::isa {

/// "b7 00 00 00 ..." without regard to blanks. Errors: invalid_argument, with the offending text.
Result<std::vector<std::uint8_t>> bytes_of_hex(const std::string& text);
/// The same back, with blanks.
std::string hex_of(const std::vector<std::uint8_t>& bytes);

/// A whole number, decimal or after 0x hexadecimal, perhaps after a sign: from -2^63 to 2^64 - 1.
/// Errors: invalid_argument.
Result<std::uint64_t> parse_number(const std::string& text);

/// What is wrong with a line.
struct Wrong : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// take...() leaves what it does not find; need...() throws Wrong. Blanks between tokens are passed
/// over.
class Text {
public:
    explicit Text(std::string_view rest) : rest_(rest) {}

    /// Words are taken whole: "go" is not found in "goto".
    bool take(std::string_view token);
    void need(std::string_view token);
    /// Letters, digits and underscores; perhaps none.
    std::string_view take_word();
    /// r5, or w5 where `letter` is w.
    std::optional<unsigned> take_register(char letter);
    unsigned need_register(char letter);
    std::uint64_t need_number();
    /// As an instruction's immediate: signed, or unsigned with the same bits.
    std::int32_t need_immediate() { return to_immediate(need_number()); }
    static std::int32_t to_immediate(std::uint64_t number);
    std::int16_t need_offset();

    [[nodiscard]] bool at_end();
    /// The next character, NUL at the end.
    [[nodiscard]] char next();
    [[nodiscard]] std::string_view rest() const { return rest_; }
    [[noreturn]] void fail(const std::string& wanted);

private:
    void skip_blanks();
    std::string_view rest_;
};

}  // namespace taskwork::isa
