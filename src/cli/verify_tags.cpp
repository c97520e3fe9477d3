// SPDX-License-Identifier: Apache-2.0
#include "cli/verify_tags.hpp"

#include <fmt/format.h>
#include <regex.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <string_view>

namespace taskwork::cli {

namespace {

/// Takes "12" and the separator off the front of `text`; nothing if it does not begin so.
std::optional<std::uint32_t> take_number(std::string_view& text, char separator) {
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc{} || end == text.data() + text.size() || *end != separator) {
        return std::nullopt;
    }
    text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
    return number;
}

bool take_prefix(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) {
        return false;
    }
    text.remove_prefix(prefix.size());
    return true;
}

/// Where a text was found in a log.
struct Match {
    std::size_t begin = std::string_view::npos;  ///< npos: nowhere.
    std::size_t end = 0;
};

/// TEXT with {{...}} as one regular expression.
std::string pattern_of(std::string_view text) {
    std::string pattern;
    while (!text.empty()) {
        const std::size_t open = std::min(text.find("{{"), text.size());
        for (const char c : text.substr(0, open)) {
            if (std::string_view("\\^$.|?*+()[]{}").find(c) != std::string_view::npos) {
                pattern += '\\';
            }
            pattern += c;
        }
        text.remove_prefix(std::min(open + 2, text.size()));
        if (open != text.size() || !text.empty()) {
            const std::size_t close = std::min(text.find("}}"), text.size());
            if (close != 0) {
                pattern += fmt::format("({})", text.substr(0, close));
            }
            text.remove_prefix(std::min(close + 2, text.size()));
        }
    }
    return pattern;
}

Match find(const std::string& log, std::size_t from, const std::string& text) {
    if (text.find("{{") == std::string::npos) {
        const std::size_t begin = log.find(text, from);
        return {begin, begin + text.size()};
    }
    regex_t compiled;
    if (::regcomp(&compiled, pattern_of(text).c_str(), REG_EXTENDED | REG_NEWLINE) != 0) {
        return {};
    }
    regmatch_t match{};
    const bool found = ::regexec(&compiled, log.c_str() + from, 1, &match, 0) == 0;
    ::regfree(&compiled);
    return found ? Match{from + static_cast<std::size_t>(match.rm_so),
                         from + static_cast<std::size_t>(match.rm_eo)}
                 : Match{};
}

/// The log with its quotations of the source blanked out, everything else where it was. A tag
/// stands in the source: on the line of its program it would find itself.
std::string without_source(const std::string& log) {
    std::string text = log;
    for (std::size_t begin = 0; begin < text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        if (is_source_line(std::string_view(text).substr(begin, end - begin))) {
            std::fill(text.begin() + static_cast<std::ptrdiff_t>(begin),
                      text.begin() + static_cast<std::ptrdiff_t>(end), '\1');
        }
        begin = end + 1;
    }
    return text;
}

}  // namespace

Expectation expectation_of(const std::vector<std::string>& tags) {
    // Equal numbers stay in order.
    std::multimap<std::uint32_t, ExpectedText> numbered;
    Expectation expectation;
    for (const std::string& tag : tags) {
        std::string_view rest = tag;
        if (!take_prefix(rest, "comment:")) {
            continue;
        }
        std::optional<std::uint32_t> number = take_number(rest, ':');
        if (rest == "test_expect_failure") {
            expectation.accepted = false;
        } else if (rest == "test_auxiliary") {
            expectation.auxiliary = true;
        } else if (take_prefix(rest, "test_log_level=")) {
            std::from_chars(rest.data(), rest.data() + rest.size(), expectation.log_level);
        } else if (const bool absent = rest.starts_with("test_expect_not_msg=");
                   take_prefix(rest, absent ? "test_expect_not_msg=" : "test_expect_msg=")) {
            if (const auto inner = take_number(rest, '=')) {
                number = inner;
            }
            numbered.emplace(number.value_or(0), ExpectedText{std::string(rest), absent});
        }
    }
    for (auto& [number, text] : numbered) {
        expectation.texts.push_back(std::move(text));
    }
    return expectation;
}

std::string difference(const Expectation& expectation, const ProgramVerdict& verdict) {
    if (verdict.accepted != expectation.accepted) {
        return verdict.accepted ? "accepted, failure was expected"
                                : fmt::format("rejected, success was expected: {}", verdict.reason);
    }
    // What failed before the verifier said anything stands in the reason alone.
    const std::string& log =
        verdict.reached_verifier && !verdict.log.empty() ? verdict.log : verdict.reason;
    const std::string said = without_source(log);
    const auto find_from = [&](std::size_t begin, const std::string& text) {
        return find(text.starts_with(';') ? log : said, begin, text);
    };
    std::size_t from = 0;
    std::vector<const std::string*> absent;
    const auto unexpected = [&](std::size_t to) -> const std::string* {
        for (const std::string* text : absent) {
            if (const Match match = find_from(from, *text); match.end <= to && match.begin < to) {
                return text;
            }
        }
        absent.clear();
        return nullptr;
    };
    for (const ExpectedText& text : expectation.texts) {
        if (text.absent) {
            absent.push_back(&text.text);
            continue;
        }
        const Match match = find_from(from, text.text);
        if (match.begin == std::string::npos) {
            return fmt::format("the log does not say \"{}\" but ends in: {}", text.text,
                               verdict.reason);
        }
        if (const std::string* found = unexpected(match.begin)) {
            return fmt::format("the log says \"{}\"", *found);
        }
        from = match.end;
    }
    if (const std::string* found = unexpected(log.size())) {
        return fmt::format("the log says \"{}\"", *found);
    }
    return {};
}

}  // namespace taskwork::cli
