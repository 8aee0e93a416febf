// RUN:
// Every operation prints as it is read.
builtin.module {
  "llm.cache"() <{sym_name = "kv", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["k0"], keys_out = ["k0'"], values_in = ["v0"], values_out = ["v0'"]}> : () -> ()
  func.func @main(%ids : tensor<2x3xi64>, %table : tensor<9x4xf32>, %w : tensor<4x4xf32>, %n : tensor<4xf32>, %c : tensor<3x2xf32>, %q : tensor<2x2x3x4xf32>, %at : tensor<2xi64>) {
    %0 = "llm.embedding"(%table, %ids) : (tensor<9x4xf32>, tensor<2x3xi64>) -> tensor<2x3x4xf32>
    %1 = "llm.rms_norm"(%0, %n) <{epsilon = 1.0e-05 : f64}> : (tensor<2x3x4xf32>, tensor<4xf32>) -> tensor<2x3x4xf32>
    %2 = "llm.layer_norm"(%1, %n) <{epsilon = 1.0e-05 : f64}> : (tensor<2x3x4xf32>, tensor<4xf32>) -> tensor<2x3x4xf32>
    %3 = "llm.linear"(%2, %w, %n) <{transposed = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}> : (tensor<2x3x4xf32>, tensor<4x4xf32>, tensor<4xf32>) -> tensor<2x3x4xf32>
    %4 = "llm.gated"(%3, %2) <{activation = "silu"}> : (tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    %5 = "llm.activation"(%4) <{activation = "gelu"}> : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    %6 = "llm.rotary"(%q, %c, %c) <{interleaved = false}> : (tensor<2x2x3x4xf32>, tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<2x2x3x4xf32>
    %7 = "llm.attention"(%6, %q, %q) <{cache = @kv, scale = 0.5 : f64, softcap = 0.0 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}> : (tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>) -> tensor<2x2x3x4xf32>
    %8 = "llm.append"(%q, %6, %at) <{clear = true, circular = false}> : (tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2xi64>) -> tensor<2x2x6x4xf32>
    %9 = "llm.round_blocks"(%5) <{block = 2 : i64}> : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    %10 = "llm.evict"(%8, %at) : (tensor<2x2x6x4xf32>, tensor<2xi64>) -> tensor<2x2x3x4xf32>
    func.return
  }
}
// CHECK: "llm.cache"() <{sym_name = "kv", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["k0"], keys_out = ["k0'"], values_in = ["v0"], values_out = ["v0'"]}> : () -> ()
// CHECK-NEXT: "func.func"() <{sym_name = "main", function_type = (tensor<2x3xi64>, tensor<9x4xf32>, tensor<4x4xf32>, tensor<4xf32>, tensor<3x2xf32>, tensor<2x2x3x4xf32>, tensor<2xi64>) -> ()}> ({
// CHECK-NEXT: ^bb0(%ids: tensor<2x3xi64>, %table: tensor<9x4xf32>, %w: tensor<4x4xf32>, %n: tensor<4xf32>, %c: tensor<3x2xf32>, %q: tensor<2x2x3x4xf32>, %at: tensor<2xi64>):
// CHECK-NEXT: %0 = "llm.embedding"(%table, %ids) : (tensor<9x4xf32>, tensor<2x3xi64>) -> tensor<2x3x4xf32>
// CHECK-NEXT: %1 = "llm.rms_norm"(%0, %n) <{epsilon = 1.000000e-05 : f64}> : (tensor<2x3x4xf32>, tensor<4xf32>) -> tensor<2x3x4xf32>
// CHECK-NEXT: %2 = "llm.layer_norm"(%1, %n) <{epsilon = 1.000000e-05 : f64}> : (tensor<2x3x4xf32>, tensor<4xf32>) -> tensor<2x3x4xf32>
// CHECK-NEXT: %3 = "llm.linear"(%2, %w, %n) <{transposed = true, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0>}> : (tensor<2x3x4xf32>, tensor<4x4xf32>, tensor<4xf32>) -> tensor<2x3x4xf32>
// CHECK-NEXT: %4 = "llm.gated"(%3, %2) <{activation = "silu"}> : (tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
// CHECK-NEXT: %5 = "llm.activation"(%4) <{activation = "gelu"}> : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
// CHECK-NEXT: %6 = "llm.rotary"(%q, %c, %c) <{interleaved = false}> : (tensor<2x2x3x4xf32>, tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<2x2x3x4xf32>
// CHECK-NEXT: %7 = "llm.attention"(%6, %q, %q) <{cache = @kv, scale = 5.000000e-01 : f64, softcap = 0.000000e+00 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}> : (tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>) -> tensor<2x2x3x4xf32>
// CHECK-NEXT: %8 = "llm.append"(%q, %6, %at) <{clear = true, circular = false}> : (tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2xi64>) -> tensor<2x2x6x4xf32>
// CHECK-NEXT: %9 = "llm.round_blocks"(%5) <{block = 2 : i64}> : (tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
// CHECK-NEXT: %10 = "llm.evict"(%8, %at) : (tensor<2x2x6x4xf32>, tensor<2xi64>) -> tensor<2x2x3x4xf32>
// CHECK-NEXT: "func.return"() : () -> ()
// CHECK-NEXT: }) : () -> ()
// -----
// The weight of a linear is a matrix.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>, %w : tensor<4xf32>) {
    %0 = "llm.linear"(%x, %w) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: weight must be a matrix
// -----
// Its features are those of the weight,
builtin.module {
  func.func @main(%x : tensor<2x4xf32>, %w : tensor<8x4xf32>) {
    %0 = "llm.linear"(%x, %w) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: x has 4 features, the weight takes 8
// -----
// seen transposed where it says so.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>, %w : tensor<8x4xf32>) {
    %0 = "llm.linear"(%x, %w) <{transposed = true, operandSegmentSizes = array<i32: 1, 1, 0, 0, 0>}> : (tensor<2x4xf32>, tensor<8x4xf32>) -> tensor<2x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: y must be 2x8, not 2x4
// -----
// A norm keeps the shape,
builtin.module {
  func.func @main(%x : tensor<2x4xf32>, %w : tensor<4xf32>) {
    %0 = "llm.rms_norm"(%x, %w) <{epsilon = 1.0e-05 : f64}> : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: y must be 2x4, not 4
// -----
// of either kind.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>, %w : tensor<4xf32>) {
    %0 = "llm.layer_norm"(%x, %w) <{epsilon = 1.0e-05 : f64}> : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: y must be 2x4, not 4
// -----
// Rotation keeps the shape.
builtin.module {
  func.func @main(%x : tensor<3x4xf32>, %c : tensor<3x2xf32>) {
    %0 = "llm.rotary"(%x, %c, %c) <{interleaved = true}> : (tensor<3x4xf32>, tensor<3x2xf32>, tensor<3x2xf32>) -> tensor<3x2xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: y must be 3x4, not 3x2
// -----
// The gate has the shape of what it gates.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>, %u : tensor<4xf32>) {
    %0 = "llm.gated"(%x, %u) <{activation = "silu"}> : (tensor<2x4xf32>, tensor<4xf32>) -> tensor<2x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: up must be 2x4, not 4
// -----
// The result of a gate has it too.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>) {
    %0 = "llm.gated"(%x, %x) <{activation = "silu"}> : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: y must be 2x4, not 4
// -----
// Activations are known by name,
builtin.module {
  func.func @main(%x : tensor<2x4xf32>) {
    %0 = "llm.gated"(%x, %x) <{activation = "cube"}> : (tensor<2x4xf32>, tensor<2x4xf32>) -> tensor<2x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: unknown activation cube
// -----
// alone as well.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>) {
    %0 = "llm.activation"(%x) <{activation = "cube"}> : (tensor<2x4xf32>) -> tensor<2x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: unknown activation cube
// -----
// They keep the shape.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>) {
    %0 = "llm.activation"(%x) <{activation = "relu"}> : (tensor<2x4xf32>) -> tensor<4x2xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: y must be 2x4, not 4x2
// -----
// An embedding has a row for each id.
builtin.module {
  func.func @main(%t : tensor<9x4xf32>, %ids : tensor<3xi64>) {
    %0 = "llm.embedding"(%t, %ids) : (tensor<9x4xf32>, tensor<3xi64>) -> tensor<4x3xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: y must be 3x4, not 4x3
// -----
// A cache belongs to as many calls on all sides.
builtin.module {
  "llm.cache"() <{sym_name = "kv", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "1", past = "past", new = "seq", keys_in = ["k0", "k1"], keys_out = ["k0'"], values_in = [], values_out = ["v0'"]}> : () -> ()
}
// CHECK: error:
// CHECK: 2, 1, 0, 1 inputs and outputs don't belong to as many calls
// -----
// Attention is over heads,
builtin.module {
  func.func @main(%q : tensor<2x3x4xf32>) {
    %0 = "llm.attention"(%q, %q, %q) <{scale = 0.5 : f64, softcap = 0.0 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}> : (tensor<2x3x4xf32>, tensor<2x3x4xf32>, tensor<2x3x4xf32>) -> tensor<2x3x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: q must be [batch, heads, tokens, head_dim]
// -----
// as many for each key and value head,
builtin.module {
  func.func @main(%q : tensor<1x3x3x4xf32>, %k : tensor<1x2x3x4xf32>) {
    %0 = "llm.attention"(%q, %k, %k) <{scale = 0.5 : f64, softcap = 0.0 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}> : (tensor<1x3x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x3x3x4xf32>
    func.return
  }
}
// CHECK: error:
// CHECK: 3 query heads are no multiple of 2 key/value heads
// -----
// in one number format.
builtin.module {
  func.func @main(%q : tensor<1x2x3x4xf32>) {
    %0 = "llm.attention"(%q, %q, %q) <{scale = 0.5 : f64, softcap = 0.0 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 0, 0>}> : (tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>, tensor<1x2x3x4xf32>) -> tensor<1x2x3x4xf16>
    func.return
  }
}
// CHECK: error:
// CHECK: q and y differ in dtype
// -----
// Scales divide the weight.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>, %w : tensor<4x6xi8>, %s : tensor<3x1xf32>) {
    %0 = "llm.linear"(%x, %w, %s) <{transposed = false, operandSegmentSizes = array<i32: 1, 1, 0, 1, 0>}> : (tensor<2x4xf32>, tensor<4x6xi8>, tensor<3x1xf32>) -> tensor<2x6xf32>
    func.return
  }
}
// CHECK: 3 of scales do not divide 4
// -----
// New tokens have places of their own in a cache only.
builtin.module {
  func.func @main(%q : tensor<2x2x3x4xf32>, %at : tensor<2xi64>) {
    %0 = "llm.attention"(%q, %q, %q, %at) <{scale = 0.5 : f64, softcap = 0.0 : f64, causal = true, nan_to_zero = false, operandSegmentSizes = array<i32: 1, 1, 1, 0, 0, 1, 0>}> : (tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2x2x3x4xf32>, tensor<2xi64>) -> tensor<2x2x3x4xf32>
    func.return
  }
}
// CHECK: starts without a cache
// -----
// Blocks fill the last dimension.
builtin.module {
  func.func @main(%x : tensor<2x4xf32>) {
    %0 = "llm.round_blocks"(%x) <{block = 3 : i64}> : (tensor<2x4xf32>) -> tensor<2x4xf32>
    func.return
  }
}
// CHECK: 4 features are no multiple of 3
// -----
// What stays has the heads and sizes of what was there.
builtin.module {
  func.func @main(%x : tensor<2x2x6x4xf32>, %at : tensor<2xi64>) {
    %0 = "llm.evict"(%x, %at) : (tensor<2x2x6x4xf32>, tensor<2xi64>) -> tensor<2x3x5x4xf32>
    func.return
  }
}
// CHECK: of as many but tokens
