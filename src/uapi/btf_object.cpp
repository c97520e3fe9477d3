// SPDX-License-Identifier: Apache-2.0
#include "uapi/btf_object.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>

#include "base/assert.hpp"
#include "bpf/program.hpp"
#include "uapi/btf_check.hpp"

namespace taskwork::uapi {
namespace {

struct Registry {
    std::mutex lock;
    std::map<std::uint32_t, std::weak_ptr<BtfObject>> loaded;
    std::uint32_t last_id = BtfObject::kKernelId;
};

// Never destroyed: descriptors may be closed while the process exits.
Registry& registry() {
    static auto* instance = new Registry;
    return *instance;
}

/// nullptr: a struct of that name is no special field.
const map::SpecialField* special_field(std::string_view name) {
    for (const map::SpecialField& kind : map::kSpecialFields) {
        if (name == kind.type) {
            return &kind;
        }
    }
    return nullptr;
}

/// A special field that the kernel has, and we have not.
struct AbsentField {
    std::string_view type;
    std::uint32_t bytes;
    std::uint32_t align;
};
constexpr AbsentField kAbsentFields[] = {
    {"bpf_list_head", 16, 8},
    {"bpf_rb_root", 16, 8},
    {"bpf_refcount", 4, 4},
};

constexpr std::string_view kUnknownTag = "?";

/// Of a pointer with a tag on what it points to, by which the kernel takes it for a special field:
/// the name of the field; kUnknownTag for others. Empty: no tag.
std::string_view pointer_field(const btf* types, const btf_type* type) {
    if (btf_is_volatile(type)) {
        type = btf__type_by_id(types, type->type);
    }
    const btf_type* tag =
        type != nullptr && btf_is_ptr(type) ? btf__type_by_id(types, type->type) : nullptr;
    if (tag == nullptr || !btf_is_type_tag(tag)) {
        return "";
    }
    const char* text = btf__name_by_offset(types, tag->name_off);
    const std::string_view name = text == nullptr ? "" : text;
    for (const std::string_view kind : {"kptr", "percpu_kptr", "uptr"}) {
        if (name == kind) {
            return kind;
        }
    }
    return name == "kptr_untrusted" ? "kptr" : kUnknownTag;
}

/// Walks a value's type in search of special fields (kernel/bpf/btf.c, btf_parse_fields).
class FieldSearch {
public:
    explicit FieldSearch(const btf* types) : types_(types) {}

    void run(std::uint32_t type_id) {
        // The value's own type may have other names; what its members' types are named may not.
        const int resolved = btf__resolve_type(types_, type_id);
        const btf_type* type =
            resolved < 0 ? nullptr : btf__type_by_id(types_, static_cast<std::uint32_t>(resolved));
        if (type == nullptr) {
            return;
        }
        if (btf_is_struct(type)) {
            visit_struct(type, 0, 0);
        } else if (btf_is_datasec(type)) {
            visit_section(type);
        }
    }
    [[nodiscard]] map::SpecialFields fields() const {
        return repeated_ || both_locks() || unknown_tag_ ? map::SpecialFields{} : fields_;
    }
    [[nodiscard]] std::string_view absent_field() const { return absent_; }

    /// Of a struct that has `direct` bpf_spin_locks among its members; as BtfObject::check_locks().
    int check_locks(const btf_type* type, std::uint32_t direct) {
        fields_ = {};
        repeated_ = false;
        locks_only_ = true;
        visit_struct(type, 0, 0);
        if (direct > 1 || visited_ > kFieldsMax) {
            return -E2BIG;
        }
        if (repeated_ || both_locks()) {
            return -EINVAL;
        }
        return fields_.spin_lock == map::kNoField && fields_.res_spin_lock == map::kNoField
                   ? -EFAULT
                   : 0;
    }

private:
    // A struct that holds another twice, which holds a third twice, and so on, has any number of
    // fields. No value has as many; what is cut off has no special ones.
    static constexpr unsigned kDepthMax = 32;
    static constexpr unsigned kFieldsMax = 1 << 20;

    void visit_struct(const btf_type* type, std::uint32_t offset, unsigned depth) {
        if (depth > kDepthMax) {
            return;
        }
        const btf_member* members = btf_members(type);
        for (std::uint32_t index = 0; index < btf_vlen(type); ++index) {
            const std::uint32_t bits = btf_member_bit_offset(type, index);
            if (bits % 8 != 0) {
                continue;  // a bit-field
            }
            visit_field(members[index].type, offset + bits / 8, depth);
        }
    }

    void visit_section(const btf_type* type) {
        const btf_var_secinfo* variables = btf_var_secinfos(type);
        for (std::uint32_t index = 0; index < btf_vlen(type); ++index) {
            const btf_type* variable = btf__type_by_id(types_, variables[index].type);
            if (variable != nullptr && btf_is_var(variable)) {
                visit_field(variable->type, variables[index].offset, 0);
            }
        }
    }

    void visit_field(std::uint32_t type_id, std::uint32_t offset, unsigned depth) {
        // Modifiers are not looked through: what a typedef names is not recognised there either.
        if (++visited_ > kFieldsMax) {
            return;
        }
        const btf_type* type = btf__type_by_id(types_, type_id);
        std::uint64_t count = 1;
        for (; type != nullptr && btf_is_array(type); ++depth) {
            if (depth > kDepthMax) {
                return;
            }
            count *= btf_array(type)->nelems;
            type = btf__type_by_id(types_, btf_array(type)->type);
        }
        if (type == nullptr || count == 0) {
            return;
        }
        if (!btf_is_struct(type)) {
            const std::string_view field = pointer_field(types_, type);
            if (field == kUnknownTag) {
                unknown_tag_ = true;
            } else {
                found_absent(field, offset % 8 == 0);
            }
            return;
        }
        const char* name = btf__name_by_offset(types_, type->name_off);
        const std::string_view kind = name == nullptr ? "" : name;
        if (const map::SpecialField* const special = special_field(kind)) {
            found(*special, type->size, offset, count);
        } else if (const auto* absent = std::ranges::find(kAbsentFields, kind, &AbsentField::type);
                   absent != std::end(kAbsentFields)) {
            found_absent(absent->type, type->size == absent->bytes && offset % absent->align == 0);
        } else {
            // An array of structs repeats whatever they hold.
            for (std::uint64_t element = 0; element < count && element < 2; ++element) {
                visit_struct(type, offset + static_cast<std::uint32_t>(element * type->size),
                             depth + 1);
            }
        }
    }

    [[nodiscard]] bool both_locks() const {
        return fields_.spin_lock != map::kNoField && fields_.res_spin_lock != map::kNoField;
    }

    void found(const map::SpecialField& kind, std::uint32_t size, std::uint32_t offset,
               std::uint64_t count) {
        if (size != kind.bytes || offset % kind.align != 0 || (locks_only_ && !kind.is_lock)) {
            return;
        }
        std::int32_t& field = fields_.*kind.offset;
        repeated_ = repeated_ || field != map::kNoField || count > 1;
        field = static_cast<std::int32_t>(offset);
    }

    void found_absent(std::string_view name, bool fits) {
        if (fits && absent_.empty()) {
            absent_ = name;
        }
    }

    const btf* types_;
    map::SpecialFields fields_;
    std::string_view absent_;  ///< The first of them.
    unsigned visited_ = 0;     ///< In all searches.
    bool repeated_ = false;
    bool unknown_tag_ = false;  ///< Of a pointer.
    bool locks_only_ = false;
};

}  // namespace

BtfObject::BtfObject(std::vector<std::byte> raw, btf* types, std::uint32_t id) noexcept
    : raw_(std::move(raw)), types_(types), id_(id) {}

BtfObject::~BtfObject() { btf__free(types_); }

std::shared_ptr<BtfObject> BtfObject::load(std::vector<std::byte> raw) {
    const std::vector<std::byte> usual = with_usual_header(raw);
    btf* types = btf__new(usual.data(), static_cast<std::uint32_t>(usual.size()));
    if (types == nullptr) {
        return nullptr;
    }
    Registry& all = registry();
    const std::lock_guard guard(all.lock);
    std::erase_if(all.loaded, [](const auto& entry) { return entry.second.expired(); });
    const std::uint32_t id = ++all.last_id;
    std::shared_ptr<BtfObject> object(new BtfObject(std::move(raw), types, id));
    all.loaded[id] = object;
    return object;
}

std::shared_ptr<BtfObject> BtfObject::kernel() {
    static const auto* instance = [] {
        const bpf::Bytes bytes = bpf::kernel_btf();
        const auto* begin = static_cast<const std::byte*>(bytes.data);
        std::vector<std::byte> raw(begin, begin + bytes.size);
        btf* types = btf__new(raw.data(), static_cast<std::uint32_t>(raw.size()));
        TW_ASSERT(types != nullptr, "our own kernel BTF parses");
        return new std::shared_ptr<BtfObject>(new BtfObject(std::move(raw), types, kKernelId));
    }();
    return *instance;
}

std::shared_ptr<BtfObject> BtfObject::by_id(std::uint32_t id) {
    if (id == kKernelId) {
        return kernel();
    }
    Registry& all = registry();
    const std::lock_guard guard(all.lock);
    const auto found = all.loaded.find(id);
    return found == all.loaded.end() ? nullptr : found->second.lock();
}

std::uint32_t BtfObject::next_id(std::uint32_t id) {
    if (id < kKernelId) {
        return kKernelId;
    }
    Registry& all = registry();
    const std::lock_guard guard(all.lock);
    for (auto next = all.loaded.upper_bound(id); next != all.loaded.end(); ++next) {
        if (!next->second.expired()) {
            return next->first;
        }
    }
    return 0;
}

std::int64_t BtfObject::size_of(std::uint32_t type_id) const {
    return type_id == 0 ? -1 : btf__resolve_size(types_, type_id);
}

std::string BtfObject::function_name(std::uint32_t type_id) const {
    const btf_type* type = btf__type_by_id(types_, type_id);
    if (type == nullptr || !btf_is_func(type)) {
        return {};
    }
    const char* name = btf__name_by_offset(types_, type->name_off);
    return name == nullptr ? std::string() : std::string(name);
}

int BtfObject::check_locks() const {
    FieldSearch search(types_);
    for (std::uint32_t id = 1; id < btf__type_cnt(types_); ++id) {
        const btf_type* type = btf__type_by_id(types_, id);
        if (btf_kind(type) != BTF_KIND_STRUCT) {
            continue;
        }
        std::uint32_t locks = 0;
        for (std::uint32_t index = 0; index < btf_vlen(type); ++index) {
            const btf_type* member = btf__type_by_id(types_, btf_members(type)[index].type);
            const char* name = member != nullptr && btf_kind(member) == BTF_KIND_STRUCT
                                   ? btf__name_by_offset(types_, member->name_off)
                                   : nullptr;
            locks += name != nullptr && std::string_view(name) == "bpf_spin_lock" ? 1 : 0;
        }
        if (locks == 0) {
            continue;
        }
        if (const int error = search.check_locks(type, locks); error != 0) {
            return error;
        }
    }
    return 0;
}

map::SpecialFields BtfObject::special_fields(std::uint32_t value_type_id) const {
    FieldSearch search(types_);
    search.run(value_type_id);
    return search.fields();
}

std::string_view BtfObject::absent_field(std::uint32_t value_type_id) const {
    FieldSearch search(types_);
    search.run(value_type_id);
    return search.absent_field();
}

}  // namespace taskwork::uapi
