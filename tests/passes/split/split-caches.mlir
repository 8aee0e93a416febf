// RUN: split-caches
// Heads and tokens of a cache are spread over the units of the engine that holds it; one of another engine lies in memory.
builtin.module {
  "llm.cache"() <{sym_name = "held", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["k"], keys_out = ["k2"], values_in = ["v"], values_out = ["v2"]}> : () -> ()
  "llm.cache"() <{sym_name = "loose", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["k3"], keys_out = ["k4"], values_in = ["v3"], values_out = ["v4"]}> : () -> ()
  func.func @main(%q : tensor<1x2x1x4xf32>, %k : tensor<1x2x1x4xf32>) -> tensor<1x2x1x4xf32> {
    %y = "llm.attention"(%q, %k, %k) <{cache = @held, scale = 0.5 : f64, softcap = 0.0 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}> {engine = "m"} : (tensor<1x2x1x4xf32>, tensor<1x2x1x4xf32>, tensor<1x2x1x4xf32>) -> tensor<1x2x1x4xf32>
    %z = "llm.attention"(%y, %k, %k) <{cache = @loose, scale = 0.5 : f64, softcap = 0.0 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}> {engine = "v"} : (tensor<1x2x1x4xf32>, tensor<1x2x1x4xf32>, tensor<1x2x1x4xf32>) -> tensor<1x2x1x4xf32>
    func.return %z : tensor<1x2x1x4xf32>
  }
}
// CHECK: sym_name = "held"
// CHECK-SAME: {mapping = {engine = "m", split = {keys = {heads = {array = 2 : i64}}, values = {heads = {array = 2 : i64}, tokens = {array = 4 : i64}}}}}
// CHECK: sym_name = "loose"
// CHECK-NOT: mapping
