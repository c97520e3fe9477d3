// SPDX-License-Identifier: Apache-2.0
//
// Of the follower: whether the machine is in a state.
#include <algorithm>
#include <array>
#include <cstring>

#include "bpf/isa.hpp"
#include "bpf/verifier/log.hpp"
#include "tests/fuzz/soundness/follower.hpp"

namespace taskwork::fuzz {

using verifier::Byte;
using verifier::Frame;
using verifier::Register;
using verifier::Slot;
using verifier::text_of;
using verifier::Type;

namespace {

bool contains_number(const verifier::Scalar& value, std::uint64_t word) {
    const auto low = static_cast<std::uint32_t>(word);
    const auto s64 = static_cast<std::int64_t>(word);
    const auto s32 = static_cast<std::int32_t>(low);
    return (word & ~value.bits.mask) == value.bits.value && value.u64.min <= word &&
           word <= value.u64.max && value.s64.min <= s64 && s64 <= value.s64.max &&
           value.u32.min <= low && low <= value.u32.max && value.s32.min <= s32 &&
           s32 <= value.s32.max;
}

std::uint64_t low_bytes(std::uint64_t word, unsigned bytes) {
    return bytes >= 8 ? word : word & ((std::uint64_t{1} << (8 * bytes)) - 1);
}

bool may_be_loose(const Register& reg, const Loose& loose, unsigned number) {
    return (loose.unread_registers >> number & 1) != 0 ||
           ((loose.any_number_registers >> number & 1) != 0 && reg.is_scalar());
}

bool may_be_loose(const Slot& slot, const Loose& loose, unsigned number) {
    return (loose.unread_slots >> number & 1) != 0 ||
           ((loose.any_number_slots >> number & 1) != 0 && slot.is_spilled() &&
            slot.spilled.is_scalar());
}

}  // namespace

std::uint64_t Follower::slot_word(unsigned frame, unsigned slot) const {
    Word word = 0;
    const Word address = frame_end(activation().base + frame) - 8 * (Word{slot} + 1);
    std::memcpy(&word, reinterpret_cast<const void*>(address), sizeof(word));
    return word;
}

bool Follower::hold(const Node& node, LooseFrames& loose) {
    const std::vector<Frame>& frames = node.frames;
    const LooseFrames was = loose;
    for (unsigned f = 0; f < frames.size(); ++f) {
        const RegisterFile& registers = registers_[activation().base + f];
        for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
            const Register& reg = frames[f].registers[i];
            if (contains(reg, registers[i])) {
                loose[f].tighten_register(i);
            } else if (!may_be_loose(reg, loose[f], i)) {
                complaint_ = text_of("frame %u, R%u=%s is %#llx", f, i, describe(reg).c_str(),
                                     static_cast<unsigned long long>(registers[i]));
                return false;
            }
        }
        const std::vector<Slot>& stack = frames[f].stack;
        for (unsigned i = 0; i < stack.size(); ++i) {
            const Word word = slot_word(f, i);
            if (slot_contains(stack[i], word)) {
                loose[f].tighten_slot(i);
            } else if (!may_be_loose(stack[i], loose[f], i)) {
                complaint_ =
                    text_of("frame %u, fp-%u=%s is %#llx", f, 8 * (i + 1),
                            stack[i].is_spilled() ? describe(stack[i].spilled).c_str() : "zeros",
                            static_cast<unsigned long long>(word));
                return false;
            }
        }
        for (std::size_t i = stack.size(); i < verifier::kSlots; ++i) {
            loose[f].tighten_slot(static_cast<unsigned>(i));
        }
    }
    return hold_held(node, loose) && hold_ids(frames, was, loose);
}

/// Numbers of one id are equal, but for their deltas.
bool Follower::hold_ids(const std::vector<Frame>& frames, const LooseFrames& was,
                        LooseFrames& loose) {
    struct Member {
        std::uint32_t id;
        bool loose;
        Word base;
        unsigned frame;
        unsigned number;
        bool is_slot;
    };
    std::array<Member, kMembersMax> members;
    std::size_t count = 0;
    for (unsigned f = 0; f < frames.size(); ++f) {
        const auto add = [&members, &count, f](const Register& reg, Word word, bool is_loose,
                                               unsigned number, bool is_slot) {
            if (reg.is_scalar() && reg.id != 0 && count < kMembersMax) {
                members[count++] = {
                    reg.id, is_loose, word - static_cast<Word>(std::int64_t{reg.delta}),
                    f,      number,   is_slot};
            }
        };
        for (unsigned i = 0; i < MAX_BPF_REG; ++i) {
            add(frames[f].registers[i], registers_[activation().base + f][i],
                was[f].has_register(i), i, false);
        }
        for (unsigned i = 0; i < frames[f].stack.size(); ++i) {
            const Slot& slot = frames[f].stack[i];
            if (slot.is_spilled()) {
                add(slot.spilled, low_bytes(slot_word(f, i), slot.spilled_bytes()),
                    was[f].has_slot(i), i, true);
            }
        }
    }
    // Those that nothing has loosened first.
    std::sort(members.begin(), members.begin() + static_cast<std::ptrdiff_t>(count),
              [](const Member& a, const Member& b) {
                  return a.id != b.id ? a.id < b.id : a.loose < b.loose;
              });
    for (std::size_t i = 1; i < count; ++i) {
        const Member& one = members[i];
        Member& before = members[i - 1];
        if (one.id != before.id || one.base == before.base) {
            continue;
        }
        if (!one.loose) {
            complaint_ = text_of("id %u is %#llx (frame %u, %s%u) and %#llx (frame %u, %s%u)",
                                 one.id, static_cast<unsigned long long>(before.base), before.frame,
                                 before.is_slot ? "slot " : "R", before.number,
                                 static_cast<unsigned long long>(one.base), one.frame,
                                 one.is_slot ? "slot " : "R", one.number);
            return false;
        }
        const Loose& by = was[one.frame];
        Loose& of = loose[one.frame];
        if (one.is_slot) {
            const std::uint64_t bit = std::uint64_t{1} << one.number;
            of.unread_slots |= by.unread_slots & bit;
            of.any_number_slots |= by.any_number_slots & bit;
        } else {
            of.copy_register(one.number, by, one.number);
        }
        members[i].base = before.base;  // the next is held against what is not loose
    }
    return true;
}

bool Follower::contains(const Register& reg, Word word) const {
    if (reg.type == Type::none) {
        return true;
    }
    if (reg.is_scalar()) {
        return contains_number(reg.value, word);
    }
    return (reg.or_null && word == 0) || points_into(reg, word);
}

bool Follower::points_into(const Register& reg, Word word) const {
    const auto from = [&reg, word](Word base) {
        return contains_number(reg.value,
                               word - base - static_cast<Word>(std::int64_t{reg.offset}));
    };
    switch (reg.type) {
    case Type::context:
        return from(context_);
    case Type::stack:
        return from(frame_end(activation().base + reg.frame));
    case Type::map_pointer:
        return reg.map->map == nullptr || word == reinterpret_cast<Word>(reg.map->map);
    case Type::map_value: {
        if (reg.map->map == nullptr) {
            return true;
        }
        void* base = nullptr;
        std::size_t size = 0;
        if (reg.map->max_entries == 1 &&
            map::direct_values(*reg.map->map, &base, &size) == no_error &&
            from(reinterpret_cast<Word>(base))) {
            return true;
        }
        return std::any_of(found_.begin(), found_.end(), [&](const Found& each) {
            return each.map == reg.map->map && from(each.address);
        });
    }
    case Type::map_key:
        return std::any_of(keys_.begin(), keys_.end(), from);
    case Type::record:
        return std::any_of(records_.begin(), records_.end(), [&](const auto& each) {
            return each.second == reg.size && from(each.first);
        });
    case Type::memory:
        if (reg.reference != 0) {
            return std::any_of(iterated_.begin(), iterated_.end(), from);
        }
        // Of a global function's arguments; what else there is has no address that we know.
        return reg.read_only || activation().base == 0 ||
               std::any_of(activation().arguments.begin(), activation().arguments.end(), from);
    case Type::function:
        return word >> 56 == bpf::kFunctionTag >> 56;
    default:  // kernel structs
        if (reg.reference != 0) {
            return std::any_of(acquired_.begin(), acquired_.end(), from);
        }
        // Of no address that we know.
        return word != 0 ||
               (reg.trust != verifier::Trust::trusted && reg.trust != verifier::Trust::rcu);
    }
}

bool Follower::slot_contains(const Slot& slot, Word word) const {
    unsigned first = 0;
    if (slot.bytes[0] == Byte::iterator && slot.drained && word != 0) {
        return false;
    }
    if (slot.is_spilled()) {
        first = slot.spilled_bytes();
        if (!contains(slot.spilled, low_bytes(word, first))) {
            return false;
        }
    }
    for (unsigned i = first; i < 8; ++i) {
        if (slot.bytes[i] == Byte::zero && (word >> (8 * i) & 0xff) != 0) {
            return false;
        }
    }
    return true;
}

}  // namespace taskwork::fuzz
