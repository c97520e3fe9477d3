// SPDX-License-Identifier: Apache-2.0
//
// BTF: the types of an object, as BPF_BTF_LOAD brings them, and those of our own kernel. Checking
// them is btf_check.hpp's part, parsing libbpf's; what is here is what the kernel does with the
// result: sizes of keys and values, and the special fields of a value (struct bpf_task_work,
// bpf_spin_lock, bpf_res_spin_lock), which other code must neither see nor copy.
#pragma once

#include <bpf/btf.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "map/map.hpp"

namespace taskwork::uapi {

class BtfObject {
public:
    /// Id of our own kernel's BTF, as in the kernel; loaded objects follow.
    static constexpr std::uint32_t kKernelId = 1;

    /// Takes in raw BTF that check_btf() has accepted, and gives it an id; nullptr: no memory.
    /// Context: task.
    static std::shared_ptr<BtfObject> load(std::vector<std::byte> raw);
    /// The types and functions of our kernel (bpf::kernel_btf()).
    /// Context: task.
    static std::shared_ptr<BtfObject> kernel();
    /// The loaded object with this id, or nullptr.
    /// Context: task.
    static std::shared_ptr<BtfObject> by_id(std::uint32_t id);
    /// The lowest id above `id`; 0 if none.
    /// Context: task.
    static std::uint32_t next_id(std::uint32_t id);

    ~BtfObject();
    BtfObject(const BtfObject&) = delete;
    BtfObject& operator=(const BtfObject&) = delete;

    [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
    [[nodiscard]] bool is_kernel() const noexcept { return id_ == kKernelId; }
    [[nodiscard]] const std::vector<std::byte>& raw() const noexcept { return raw_; }
    [[nodiscard]] const btf* types() const noexcept { return types_; }

    /// Size of a value of the type in bytes; negative if it has none.
    /// Context: task.
    [[nodiscard]] std::int64_t size_of(std::uint32_t type_id) const;
    /// Name of the function with this id; empty if there is none.
    /// Context: task.
    [[nodiscard]] std::string function_name(std::uint32_t type_id) const;
    /// 0, or what the kernel says when it is to load these types: structs with a bpf_spin_lock
    /// among their members are looked at then, whether a map uses them or not. -E2BIG: two of them;
    /// -EINVAL: a bpf_res_spin_lock besides; -EFAULT: it is misaligned, or not of its size. -E2BIG
    /// also if such structs have more than a million members in all, which is the bound on time.
    /// Context: task.
    [[nodiscard]] int check_locks() const;
    /// The special fields of a value, nested structs included. None at all if one kind occurs twice
    /// (an array of them counts), there are locks of both kinds, or a pointer has a type tag that
    /// is not one of kptrs, as in the kernel; misaligned ones are plain data. Context: task.
    [[nodiscard]] map::SpecialFields special_fields(std::uint32_t value_type_id) const;
    /// The name of a special field of a value that the kernel has and we have not: "kptr",
    /// "percpu_kptr", "uptr", "bpf_list_head", "bpf_rb_root", "bpf_refcount". Empty: none. Context:
    /// task.
    [[nodiscard]] std::string_view absent_field(std::uint32_t value_type_id) const;

private:
    BtfObject(std::vector<std::byte> raw, btf* types, std::uint32_t id) noexcept;

    std::vector<std::byte> raw_;
    btf* types_;
    std::uint32_t id_;
};

}  // namespace taskwork::uapi
