// SPDX-License-Identifier: Apache-2.0
#include "bpf/verification.hpp"

#include <deque>

#include "bpf/verifier/verifier.hpp"

namespace taskwork::bpf {

namespace {

/// What a map and the shape of inner maps both say.
template <class Shape>
verifier::MapInfo describe_shape(const Shape& shape, const char* name) {
    verifier::MapInfo info;
    info.name = name;
    info.type = shape.type;
    info.key_size = shape.key_size;
    info.value_size = shape.value_size;
    info.max_entries = shape.max_entries;
    info.flags = shape.flags;
    info.fields = shape.fields;
    return info;
}

verifier::MapInfo describe(const map::Map& map) {
    verifier::MapInfo info = describe_shape(map, map.name);
    info.has_types = map.btf_value_type_id != 0;
    info.map = &map;
    return info;
}

verifier::MapInfo describe_inner(const map::Map& outer) {
    verifier::MapInfo info = describe_shape(outer.inner, outer.name);
    info.has_types = map::has_any(outer.inner.fields);
    return info;
}

}  // namespace

Result<verifier::Verdict> verify_program(const LoadSpec& spec, const std::vector<bpf_insn>& insns,
                                         const std::vector<map::Map*>& maps, std::string& log) {
    std::deque<verifier::MapInfo> infos;
    verifier::Input input{.insns = insns,
                          .type = spec.type,
                          .sleepable = (spec.flags & BPF_F_SLEEPABLE) != 0,
                          .maps = {},
                          .functions = spec.functions,
                          .lines = spec.lines,
                          .log_level = spec.log_level,
                          .observer = spec.observer,
                          .insns_processed_max = spec.insns_processed_max};
    for (const map::Map* map : maps) {
        infos.push_back(describe(*map));
        verifier::MapInfo& info = infos.back();
        input.maps.push_back(&info);
        if (map->inner.type != 0) {
            infos.push_back(describe_inner(*map));
            info.inner = &infos.back();
        }
    }
    verifier::Verdict verdict = verifier::verify(input, log);
    if (verdict.error == 0) {
        return verdict;
    }
    return Error{static_cast<std::errc>(verdict.error),
                 "program '" + spec.name + "', instruction " + std::to_string(verdict.insn) + ": " +
                     verdict.reason};
}

}  // namespace taskwork::bpf
