// SPDX-License-Identifier: Apache-2.0
#include "uapi/btf_check.hpp"

#include <bpf/btf.h>
#include <gtest/gtest.h>

#include "bpf/program.hpp"
#include "uapi/test_malformed.hpp"

namespace taskwork::uapi {
namespace {

class MalformedTypes : public testing::TestWithParam<MalformedBtf> {};

TEST_P(MalformedTypes, are_refused_with_the_cause_last_in_the_log) {
    std::string log;
    EXPECT_EQ(check_btf(GetParam().bytes, &log), -GetParam().error);
    if (log.ends_with('\n')) {
        log.pop_back();
    }
    if (GetParam().error != 0) {
        EXPECT_TRUE(log.ends_with(GetParam().message))
            << "expected: " << GetParam().message << "\nsaid:\n"
            << log;
    }
}

TEST_P(MalformedTypes, are_refused_without_a_log_too) {
    EXPECT_EQ(check_btf(GetParam().bytes, nullptr), -GetParam().error);
}

INSTANTIATE_TEST_SUITE_P(Btf, MalformedTypes, testing::ValuesIn(malformed_btf()),
                         [](const auto& parameter) { return parameter.param.name; });

TEST(BtfCheck, of_every_cut_of_good_types_refuses_all_but_the_whole) {
    RawBtf btf;
    btf.integer();
    btf.type("s", BTF_KIND_STRUCT, 2, 8, {btf.name("a"), 1, 0, btf.name("b"), 1, 32});
    btf.function("f");
    const std::vector<std::byte> whole = btf.bytes();
    for (std::size_t size = 0; size < whole.size(); ++size) {
        EXPECT_NE(
            check_btf({whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)}, nullptr),
            0)
            << size;
    }
    EXPECT_EQ(check_btf(whole, nullptr), 0);
}

TEST(BtfCheck, of_our_own_kernels_types_has_nothing_to_say_against_them) {
    const bpf::Bytes kernel = bpf::kernel_btf();
    const auto* begin = static_cast<const std::byte*>(kernel.data);
    std::string log;
    EXPECT_EQ(check_btf({begin, begin + kernel.size}, &log), 0) << log.substr(log.size() - 200);
}

TEST(BtfCheck, gives_types_behind_a_header_of_odd_length_one_that_libbpf_reads) {
    RawBtf btf;
    btf.header.hdr_len += 3;
    btf.header_tail.assign(3, '\0');
    btf.integer();
    const std::vector<std::byte> usual = with_usual_header(btf.bytes());
    struct btf* types = btf__new(usual.data(), static_cast<std::uint32_t>(usual.size()));
    ASSERT_NE(types, nullptr);
    EXPECT_EQ(btf__find_by_name(types, "int"), 1);
    btf__free(types);
}

}  // namespace
}  // namespace taskwork::uapi
