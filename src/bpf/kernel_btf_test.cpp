// SPDX-License-Identifier: Apache-2.0

#include <linux/btf.h>

#include <cstring>

#include <gtest/gtest.h>

#include "bpf/program.hpp"

namespace taskwork::bpf {
namespace {

TEST(KernelBtf, is_raw_btf_whose_header_fits_its_size) {
    const Bytes bytes = kernel_btf();
    ASSERT_GE(bytes.size, sizeof(btf_header));
    btf_header header;
    std::memcpy(&header, bytes.data, sizeof(header));
    EXPECT_EQ(header.magic, BTF_MAGIC);
    EXPECT_EQ(header.version, BTF_VERSION);
    EXPECT_EQ(header.hdr_len, sizeof(header));
    EXPECT_EQ(header.str_off, header.type_off + header.type_len);
    EXPECT_EQ(bytes.size, header.hdr_len + header.str_off + header.str_len);
}

TEST(KernelBtf, is_aligned_for_direct_reading) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(kernel_btf().data) % 8, 0u);
}

}  // namespace
}  // namespace taskwork::bpf
