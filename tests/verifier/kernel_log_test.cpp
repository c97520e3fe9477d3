// SPDX-License-Identifier: Apache-2.0
//
// The log of level 2 of the programs of log.bpf.c, line by line beside that of the kernel. What is
// known to differ is cut from both; docs/verifier.md lists it.

#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "../reference/kernel.hpp"
#include "cli/object_file.hpp"
#include "cli/verify_load.hpp"

namespace taskwork::cli {
namespace {

constexpr std::uint32_t kLogAll = 2;

/// What `taskwork verify` prints; its own lines are cut with what is not the kernel's.
std::string our_log(const std::string& object, const std::string& program) {
    const std::string command =
        TASKWORK_TEST_COMMAND " verify --log 2 --prog " + program + " " + object;
    std::FILE* pipe = popen(command.c_str(), "r");
    std::string text;
    char buffer[4096];
    while (pipe != nullptr && std::fgets(buffer, sizeof buffer, pipe) != nullptr) {
        text += buffer;
    }
    EXPECT_NE(pipe, nullptr);
    pclose(pipe);
    return text;
}

/// Analyses that taskwork has not, or prints nothing of; statistics; the command's own lines.
bool is_cut(const std::string& line) {
    static const std::regex cut(
        R"(^(mark_precise: |frame \d+: propagating|\([0-9,]+\) (frame|live)|Live regs before| +\d+: [.0-9]{10} |arg#\d+ reference type|verification time|stack depth|accepted |rejected |\d+ program).*)");
    return std::regex_match(line, cut);
}

/// Numbers of values and references in the order in which they come.
std::string renumbered(const std::string& text) {
    static const std::regex number(R"(\b(id|ref_obj_id|refs)=(\d+))");
    std::map<std::string, std::size_t> known[2];
    std::string result;
    auto end = text.cbegin();
    for (std::sregex_iterator at(text.begin(), text.end(), number), none; at != none; ++at) {
        auto& kind = known[(*at)[1] == "id" ? 0 : 1];
        result.append(end, (*at)[0].first);
        result += (*at)[1].str() + "=" +
                  std::to_string(kind.emplace((*at)[2].str(), kind.size() + 1).first->second);
        end = (*at)[0].second;
    }
    return result.append(end, text.cend());
}

std::vector<std::string> comparable(const std::string& log) {
    static const std::regex state(R"(^\d+:( [^(].*)$)");
    static const std::regex insn(R"(^\d+: \([0-9a-f]{2}\) [^;]*$)");
    static const std::regex column(R"(^(\d+: \([0-9a-f]{2}\) .*?) +;)");
    static const std::regex address(R"((\(18\) r\d = )0x[0-9a-f]+)");
    static const std::regex kfunc(R"((call bpf_task_work\w+)#\d+)");
    static const std::regex statistics(R"(^(processed \d+ insns).*)");
    std::istringstream in(renumbered(log));
    std::vector<std::string> lines;
    bool behind_cut = false;
    for (std::string line; std::getline(in, line);) {
        line.erase(line.find_last_not_of(' ') + 1);
        if (is_cut(line)) {
            behind_cut = true;
            continue;
        }
        std::smatch match;
        // What was said meanwhile has put the state into a line of its own.
        if (behind_cut && !lines.empty() && std::regex_match(line, match, state) &&
            std::regex_match(lines.back(), insn)) {
            lines.back() += " ;" + match[1].str();
        } else {
            line = std::regex_replace(line, column, "$1 ;");
            line = std::regex_replace(line, address, "$1...");
            line = std::regex_replace(line, kfunc, "$1");
            line = std::regex_replace(line, statistics, "$1");
            lines.push_back(line);
        }
        behind_cut = false;
    }
    while (!lines.empty() && lines.back().empty()) {
        lines.pop_back();
    }
    return lines;
}

TEST(VerifierLog, is_the_kernels_line_by_line) {
    if (const std::string reason = test::no_reference_because(); !reason.empty()) {
        GTEST_SKIP() << "not here: " << reason;
    }
    const std::string path = TASKWORK_TEST_BPF_DIR "/verifier_log.bpf.o";
    const auto bytes = read_object_file(path);
    ASSERT_TRUE(bytes) << bytes.error().text;
    const auto programs = programs_of(*bytes, path);
    ASSERT_TRUE(programs) << programs.error().text;
    for (const ProgramName& program : *programs) {
        const auto kernels = comparable(load_alone(*bytes, path, program.name, kLogAll).log);
        const auto ours = comparable(our_log(path, program.name));
        EXPECT_GE(kernels.size(), 5u) << program.name;
        for (std::size_t i = 0; i < std::max(kernels.size(), ours.size()); ++i) {
            const std::string kernel = i < kernels.size() ? kernels[i] : "(no more)";
            ASSERT_EQ(i < ours.size() ? ours[i] : "(no more)", kernel) << program.name;
        }
    }
}

}  // namespace
}  // namespace taskwork::cli
