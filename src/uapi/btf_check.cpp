// SPDX-License-Identifier: Apache-2.0
#include "uapi/btf_check.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/errc.hpp"
#include "uapi/btf_layout.hpp"
#include "uapi/btf_resolve.hpp"
#include "uapi/btf_types.hpp"

namespace taskwork::uapi {
namespace {

constexpr int kNotSupported = -static_cast<int>(errc_kernel_notsupp);

// ---- Header and sections ------------------------------------------------------------------------

/// The header as far as it goes; what a short one does not have is zero.
btf_header header_of(const std::vector<std::byte>& raw, std::uint32_t header_size) {
    btf_header header{};
    std::memcpy(&header, raw.data(), std::min<std::size_t>(header_size, sizeof header));
    return header;
}

/// Both sections lie behind the header, side by side and with nothing else.
const char* fault_of_sections(const btf_header& header, std::size_t size) {
    struct Section {
        std::uint32_t offset;
        std::uint32_t length;
    };
    Section first{header.type_off, header.type_len};
    Section second{header.str_off, header.str_len};
    // By their signed distance: so are they ordered there.
    const auto distance = static_cast<std::int32_t>(second.offset - first.offset);
    if (distance < 0 || (distance == 0 && second.length < first.length)) {
        std::swap(first, second);
    }
    const std::size_t expected = size - header.hdr_len;
    std::size_t total = 0;
    for (const Section& section : {first, second}) {
        if (expected < section.offset) {
            return "Invalid section offset";
        }
        if (total < section.offset) {
            return "Unsupported section found";
        }
        if (total > section.offset) {
            return "Section overlap found";
        }
        if (expected - total < section.length) {
            return "Total section length too long";
        }
        total += section.length;
    }
    return expected == total ? nullptr : "Unsupported section found";
}

class BlobCheck {
public:
    BlobCheck(const std::vector<std::byte>& raw, std::string* log) : raw_(raw), layout_(log) {}

    int run() {
        for (int (BlobCheck::*step)() :
             {&BlobCheck::header, &BlobCheck::strings, &BlobCheck::types}) {
            if (const int error = (this->*step)(); error != 0) {
                return error;
            }
        }
        return 0;
    }

private:
    int refuse(std::string_view reason, int error = -EINVAL) {
        layout_.say(reason);
        return error;
    }

    int header() {
        std::uint32_t size = 0;
        constexpr std::size_t at = offsetof(btf_header, hdr_len);
        if (raw_.size() < at + sizeof size) {
            return refuse("hdr_len not found");
        }
        std::memcpy(&size, raw_.data() + at, sizeof size);
        if (raw_.size() < size) {
            return refuse("btf_header not found");
        }
        if (size > sizeof header_ &&
            std::any_of(raw_.data() + sizeof header_, raw_.data() + size,
                        [](std::byte byte) { return byte != std::byte{}; })) {
            return refuse("Unsupported btf_header", -E2BIG);
        }
        header_ = header_of(raw_, size);
        say_header();
        if (header_.magic != BTF_MAGIC) {
            return refuse("Invalid magic");
        }
        if (header_.version != BTF_VERSION) {
            return refuse("Unsupported version", kNotSupported);
        }
        if (header_.flags != 0) {
            return refuse("Unsupported flags", kNotSupported);
        }
        if (raw_.size() == header_.hdr_len) {
            return refuse("No data");
        }
        const char* fault = fault_of_sections(header_, raw_.size());
        return fault == nullptr ? 0 : refuse(fault);
    }

    void say_header() {
        if (!layout_.logs()) {
            return;
        }
        layout_.say("magic: 0x" + hexadecimal(header_.magic) +
                    "\nversion: " + std::to_string(header_.version) + "\nflags: 0x" +
                    hexadecimal(header_.flags) + "\nhdr_len: " + std::to_string(header_.hdr_len) +
                    "\ntype_off: " + std::to_string(header_.type_off) +
                    "\ntype_len: " + std::to_string(header_.type_len) +
                    "\nstr_off: " + std::to_string(header_.str_off) +
                    "\nstr_len: " + std::to_string(header_.str_len) +
                    "\nbtf_total_size: " + std::to_string(raw_.size()) + "\n");
    }

    int strings() {
        const std::uint64_t begin = std::uint64_t{header_.hdr_len} + header_.str_off;
        if (begin + header_.str_len != raw_.size()) {
            return refuse("String section is not at the end");
        }
        const auto* text = reinterpret_cast<const char*>(raw_.data()) + begin;
        if (header_.str_len == 0 || header_.str_len - 1 > BtfLayout::kNameOffsetMax ||
            text[header_.str_len - 1] != '\0' || text[0] != '\0') {
            return refuse("Invalid string section");
        }
        strings_ = {text, header_.str_len};
        return 0;
    }

    int types() {
        if (header_.type_off % 4 != 0) {
            return refuse("Unaligned type_off");
        }
        if (header_.type_len == 0) {
            return refuse("No type found");
        }
        layout_.set_sections(raw_.data() + header_.hdr_len + header_.type_off, header_.type_len,
                             strings_);
        if (const int error = check_types(layout_); error != 0) {
            return error;
        }
        return resolve_types(layout_);
    }

    const std::vector<std::byte>& raw_;
    BtfLayout layout_;
    btf_header header_{};
    std::string_view strings_;
};

}  // namespace

int check_btf(const std::vector<std::byte>& raw, std::string* log) {
    return BlobCheck(raw, log).run();
}

std::vector<std::byte> with_usual_header(const std::vector<std::byte>& raw) {
    std::uint32_t size = 0;
    std::memcpy(&size, raw.data() + offsetof(btf_header, hdr_len), sizeof size);
    btf_header header = header_of(raw, size);
    header.hdr_len = sizeof header;
    std::vector<std::byte> usual(sizeof header + raw.size() - size);
    std::memcpy(usual.data(), &header, sizeof header);
    std::memcpy(usual.data() + sizeof header, raw.data() + size, raw.size() - size);
    return usual;
}

}  // namespace taskwork::uapi
