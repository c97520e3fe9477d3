// SPDX-License-Identifier: Apache-2.0
//
// Raw BTF taken apart, before anything is known of it but that its header is right: types by id,
// names, and the lines by which the kernel's log shows them. For btf_check.cpp and btf_resolve.cpp.
#pragma once

#include <bpf/btf.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace taskwork::uapi {

class BtfLayout {
public:
    static constexpr std::uint32_t kTypeIdMax = 0x000fffff;
    static constexpr std::uint32_t kNameOffsetMax = 0x00ffffff;

    /// `log`: where the text goes; nullptr if nobody will read it.
    explicit BtfLayout(std::string* log) noexcept : log_(log) {}

    /// The bytes of both sections; the type section is copied to where its types are aligned.
    /// Context: task.
    void set_sections(const std::byte* types, std::size_t types_size, std::string_view strings);
    /// The type section, from `offset` on as a T.
    template <class T>
    [[nodiscard]] const T* at(std::size_t offset) const {
        return reinterpret_cast<const T*>(reinterpret_cast<const std::byte*>(words_.data()) +
                                          offset);
    }
    [[nodiscard]] std::size_t types_size() const { return types_size_; }
    void add(const btf_type* type) { types_.push_back(type); }

    [[nodiscard]] std::uint32_t count() const { return static_cast<std::uint32_t>(types_.size()); }
    /// By id, 0 is void; nullptr if there is none.
    [[nodiscard]] const btf_type* type(std::uint32_t id) const {
        return id < types_.size() ? types_[id] : nullptr;
    }
    [[nodiscard]] std::string_view strings() const { return strings_; }
    /// Of an offset that is inside the section.
    [[nodiscard]] std::string_view name(std::uint32_t offset) const {
        return strings_.data() + offset;
    }
    [[nodiscard]] bool is_name_offset(std::uint32_t offset) const {
        return offset <= kNameOffsetMax && offset < strings_.size();
    }
    /// [A-Za-z_.][A-Za-z0-9_.]*, at most 512 bytes.
    [[nodiscard]] bool is_identifier(std::uint32_t offset) const;
    /// Printable, at most 512 bytes.
    [[nodiscard]] bool is_section_name(std::uint32_t offset) const;

    // ---- Text; does nothing if there is no log ----

    [[nodiscard]] bool logs() const { return log_ != nullptr; }
    void say(std::string_view text);
    /// "[3] STRUCT s size=8 vlen=2 " and the reason. Without details for a type that may be cut
    /// off.
    void say_type(std::uint32_t id, const btf_type& type, std::string_view reason = {},
                  bool details = true);
    void say_member(const btf_type& owner, const btf_member& member, std::string_view reason = {});
    void say_variable(const btf_var_secinfo& variable, std::string_view reason = {});
    /// The name as the log has it.
    [[nodiscard]] std::string shown(std::uint32_t name_offset) const;

private:
    [[nodiscard]] std::string details_of(const btf_type& type) const;

    std::string* log_;
    std::vector<std::uint64_t> words_;
    std::size_t types_size_ = 0;
    std::string_view strings_;
    std::vector<const btf_type*> types_;
};

/// "STRUCT": the kernel's name of a BTF_KIND_*.
/// Context: any.
const char* kind_name(std::uint32_t kind) noexcept;

/// typedef, const, volatile, restrict, type tag.
inline bool is_modifier(const btf_type& type) { return btf_is_mod(&type) || btf_is_typedef(&type); }

}  // namespace taskwork::uapi
