// RUN: tile-caches
// The room that a split cache takes at the capacity of the program; one that is not split has none.
builtin.module {
  "llm.cache"() <{sym_name = "held", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["k"], keys_out = ["k2"], values_in = ["v"], values_out = ["v2"]}> {mapping = {engine = "m", split = {keys = {heads = {array = 2 : i64}}, values = {heads = {array = 2 : i64}}}}} : () -> ()
  "llm.cache"() <{sym_name = "loose", key_value_heads = 2 : i64, head_dim = 4 : i64, dtype = "float32", batch = "batch", past = "past", new = "seq", keys_in = ["k3"], keys_out = ["k4"], values_in = ["v3"], values_out = ["v4"]}> : () -> ()
}
// CHECK: sym_name = "held"
// CHECK-SAME: split = {keys = {heads = {array = 2 : i64}}, values = {heads = {array = 2 : i64}}}, tiles = [1 : i64, 1 : i64], tile = [4 : i64, 4 : i64], units = 2 : i64, units_per_group = 6 : i64, within_group = true, bytes = 2048 : i64
// CHECK: sym_name = "loose"
// CHECK-NOT: mapping
