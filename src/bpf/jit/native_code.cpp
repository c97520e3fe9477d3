// SPDX-License-Identifier: Apache-2.0
//
// Apart from its making (make_native.cpp), which members have no use for.
#include "bpf/jit/native_code.hpp"

#include "bpf/jit/code_region.hpp"
#include "sync/arena.hpp"

namespace taskwork::bpf::jit {

void release_native(NativeCode& native) noexcept {
    if (native.code == nullptr) {
        return;
    }
    CodeRegion::release(native.code, native.bytes);
    sync::Arena::release(const_cast<Place*>(native.functions),
                         (native.function_count + native.call_count) * sizeof(Place));
    native = {};
}

}  // namespace taskwork::bpf::jit
