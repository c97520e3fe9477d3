// SPDX-License-Identifier: Apache-2.0
//
// As on a processor that has no translator: what stands in for one comes before it here.
#include "tests/native/native_domain.hpp"

namespace taskwork::bpf {
namespace {

using namespace test;

TEST(NoTranslator, programs_are_interpreted_without) {
    BpfDomain domain;
    EXPECT_STREQ(jit::CodeRegion::why_unwanted(), "there is no translator for this processor");
    EXPECT_FALSE(jit::CodeRegion::usable());
    LoadSpec spec = domain.spec();
    spec.unverified = false;
    Program& program = domain.load(spec, {set(R0, 7), leave()});
    EXPECT_EQ(program.native.code, nullptr);
    Scene scene;
    scene.outer = &program;
    const task::Section section(task::current());
    Scene::body(&scene);
    EXPECT_EQ(scene.result, 7u);
    EXPECT_FALSE(scene.faulted);
}

}  // namespace
}  // namespace taskwork::bpf
