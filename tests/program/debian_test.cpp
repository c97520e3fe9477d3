// SPDX-License-Identifier: Apache-2.0
//
// Debian's own programs, unmodified: sampled, they do what they do unsampled.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "tests/program/cli_command.hpp"

namespace taskwork::test {
namespace {

using nlohmann::json;

/// Runs the words sampled, expects events and their balance; what they wrote to standard output.
std::string sampled(const std::vector<std::string>& words) {
    EXPECT_TRUE(std::filesystem::exists(words[0])) << "see tools/packages.txt";
    json report;
    const Outcome outcome = run_with_report({}, "hash_resume", words, &report);
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    EXPECT_EQ(report.at("not_entered").size(), 0U) << report.at("not_entered");
    EXPECT_GT(report.at("counters").at("fired"), 0);
    EXPECT_GT(report["counters"].at("ran"), 0);
    EXPECT_EQ(report["counters"].at("faulted"), 0);
    // What the callbacks read from the program's memory.
    EXPECT_EQ(report.at("maps").at("values").at(0).at("value").at("text"), words[0]);
    expect_balance(report);
    return outcome.out;
}

std::string unsampled(const std::vector<std::string>& words) {
    const Outcome outcome = RunningCommand(words).wait();
    EXPECT_EQ(outcome.exit_status, 0) << outcome.error;
    return outcome.out;
}

TEST(Debian, xz_compresses_to_the_same_bytes_and_back) {
    // Letters that repeat in part: work for some tenths of a second in each direction.
    std::string text(12'000'000, ' ');
    std::uint32_t random = 20251122;
    for (std::size_t index = 0; index < text.size(); ++index) {
        random = random * 1664525U + 1013904223U;
        const bool repeat = index > 4096 && random >> 30 != 0;
        text[index] = repeat ? text[index - 4096] : static_cast<char>('a' + (random >> 24) % 26);
    }
    const TemporaryFolder folder;
    const std::string plain = folder.file("text");
    const std::string packed = folder.file("text.xz");
    std::ofstream(plain, std::ios::binary) << text;
    const std::vector<std::string> compress = {"/usr/bin/xz",       "-0", "-T2",
                                               "--block-size=1MiB", "-c", plain};
    const std::string bytes = sampled(compress);
    EXPECT_LT(bytes.size(), text.size());
    EXPECT_TRUE(bytes == unsampled(compress)) << bytes.size();
    std::ofstream(packed, std::ios::binary) << bytes;
    EXPECT_TRUE(sampled({"/usr/bin/xz", "-dc", packed}) == text);
}

TEST(Debian, python_computes_the_same) {
    const std::vector<std::string> words = {"/usr/bin/python3", "-S", "-c", R"(
def primes(limit):
    sieve = bytearray([1]) * limit
    for number in range(2, limit):
        if sieve[number]:
            yield number
            for multiple in range(number * number, limit, number):
                sieve[multiple] = 0
words = {}
for prime in primes(300000):
    words.setdefault(str(prime)[::-1][:2], []).append(prime)
print(sum(len(found) * int(ending) for ending, found in words.items()))
print(hex(pow(3, 20001) % 10**40), len(words))
try:
    words['none']
except KeyError as error:
    print('none:', error)
)"};
    const std::string text = sampled(words);
    EXPECT_THAT(text, testing::HasSubstr("none: 'none'"));
    EXPECT_EQ(text, unsampled(words));
}

TEST(Debian, sqlite_computes_the_same) {
    const std::vector<std::string> words = {"/usr/bin/sqlite3", ":memory:", R"(
CREATE TABLE points(x INTEGER PRIMARY KEY, y INTEGER);
WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 200000)
    INSERT INTO points SELECT x, x * 7919 % 10007 FROM c;
CREATE INDEX by_y ON points(y);
SELECT count(*), sum(x * y % 97), max(y) FROM points;
SELECT y, count(*) AS n, sum(x) FROM points GROUP BY y ORDER BY n DESC, y LIMIT 5;
)"};
    const std::string text = sampled(words);
    EXPECT_THAT(text, testing::StartsWith("200000|"));
    EXPECT_EQ(text, unsampled(words));
}

}  // namespace
}  // namespace taskwork::test
