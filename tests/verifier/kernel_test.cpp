// SPDX-License-Identifier: Apache-2.0
//
// The programs of this folder on the real kernel, which says what is right: each is loaded alone
// and let go of. A verdict or a phrase that is not what taskwork is expected to say is a difference
// that the program's source names, with the reason.

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "../reference/kernel.hpp"
#include "cli/object_file.hpp"
#include "cli/verify_load.hpp"
#include "cli/verify_tags.hpp"

namespace taskwork::cli {
namespace {

constexpr std::uint32_t kLogPathsAndStatistics = 1 | 4;

std::vector<std::string> themes() {
    std::istringstream list(TASKWORK_TEST_THEMES);
    std::vector<std::string> names;
    for (std::string name; std::getline(list, name, ',');) {
        names.push_back(name);
    }
    return names;
}

/// The text behind `prefix` of the tag that begins so.
std::optional<std::string> tag_text(const ProgramName& program, const std::string& prefix) {
    for (const std::string& tag : program.tags) {
        if (tag.starts_with(prefix)) {
            return tag.substr(prefix.size());
        }
    }
    return std::nullopt;
}

/// What the kernel is expected to say: as taskwork, but for the differences that are listed.
struct KernelExpectation {
    Expectation expectation;
    bool asked = true;
};
KernelExpectation kernel_expectation(const ProgramName& program) {
    KernelExpectation kernel{expectation_of(program.tags), true};
    kernel.asked = !tag_text(program, "taskwork:kernel not asked, because ");
    if (tag_text(program, "taskwork:kernel accepts, because ")) {
        EXPECT_FALSE(kernel.expectation.accepted) << program.name << ": no difference";
        kernel.expectation = {};
    } else if (const auto phrase = tag_text(program, "taskwork:kernel says ")) {
        const bool rejects = tag_text(program, "taskwork:kernel rejects, because ").has_value();
        EXPECT_EQ(kernel.expectation.accepted, rejects) << program.name << ": no difference";
        kernel.expectation = {.accepted = false, .texts = {{*phrase, false}}};
    }
    return kernel;
}

class VerifierOfTheKernel : public testing::TestWithParam<std::string> {};

TEST_P(VerifierOfTheKernel, says_of_each_program_what_its_tags_say) {
    if (const std::string reason = test::no_reference_because(); !reason.empty()) {
        GTEST_SKIP() << "not here: " << reason;
    }
    const std::string path = TASKWORK_TEST_BPF_DIR "/verifier_" + GetParam() + ".bpf.o";
    const auto bytes = read_object_file(path);
    ASSERT_TRUE(bytes) << bytes.error().text;
    const auto programs = programs_of(*bytes, path);
    ASSERT_TRUE(programs) << programs.error().text;
    for (const ProgramName& program : *programs) {
        const KernelExpectation kernel = kernel_expectation(program);
        if (!kernel.asked) {
            continue;
        }
        const ProgramVerdict verdict =
            load_alone(*bytes, path, program.name, kLogPathsAndStatistics);
        EXPECT_EQ(difference(kernel.expectation, verdict), "") << program.name;
    }
}

TEST(VerifierPrograms, are_tagged_each) {
    std::size_t count = 0;
    for (const std::string& theme : themes()) {
        const std::string path = TASKWORK_TEST_BPF_DIR "/verifier_" + theme + ".bpf.o";
        const auto bytes = read_object_file(path);
        ASSERT_TRUE(bytes) << bytes.error().text;
        const auto programs = programs_of(*bytes, path);
        ASSERT_TRUE(programs) << programs.error().text;
        for (const ProgramName& program : *programs) {
            const bool tagged =
                std::any_of(program.tags.begin(), program.tags.end(), [](const std::string& tag) {
                    return tag.find("test_expect_") != tag.npos;
                });
            EXPECT_TRUE(tagged) << theme << ": " << program.name;
        }
        count += programs->size();
    }
    EXPECT_GE(count, 250u);
}

INSTANTIATE_TEST_SUITE_P(Programs, VerifierOfTheKernel, testing::ValuesIn(themes()),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace taskwork::cli
