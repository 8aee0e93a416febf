// RUN:
// The operations of an instruction set have a property per field; optional ones may be absent.
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.act"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 0.5 : f64}> {engine = "v"} : () -> ()
    "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"a", "0", "float32", ["4"], ["1"]>, unit = "row + 1"}> {engine = "m"} : () -> ()
    "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"a", "0", "float32", ["4"], ["1"]>, unit = "0", bias = #imc.view<"a", "0", "float32", ["4"], ["1"]>}> {engine = "m"} : () -> ()
  }) : () -> ()
}
// CHECK: "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
// CHECK-NEXT: "toyvec.act"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 5.000000e-01 : f64}> {engine = "v"} : () -> ()
// CHECK-NEXT: "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"a", "0", "float32", ["4"], ["1"]>, unit = "row + 1"}> {engine = "m"} : () -> ()
// CHECK-NEXT: "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"a", "0", "float32", ["4"], ["1"]>, unit = "0", bias = #imc.view<"a", "0", "float32", ["4"], ["1"]>}> {engine = "m"} : () -> ()
// CHECK-NEXT: }) : () -> ()
// -----
// An instruction belongs to the stream of an engine,
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.copy"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>}> : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: attribute 'engine' expected
// -----
// has all its fields
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.copy"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: property 'src' expected
// -----
// and no others.
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.copy"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>, speed = "3"}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: property 'speed'
// -----
// A choice is one of the declared,
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.act"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>, op = "cube", scale = 0.5 : f64}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: toyvec.act: op: 'cube' is not one of silu, gelu
// -----
// a number has 64 bits,
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.act"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float32", ["4"], ["1"]>, op = "silu", scale = 0.5 : f32}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: f64
// -----
// a count lies in its range
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"a", "0", "float32", ["4"], ["1"]>, unit = "-1"}> {engine = "m"} : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: toymat.mul: unit: -1 is outside 0 to 4294967295
// -----
// and is an expression,
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toymat.mul"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, x = #imc.view<"a", "0", "float32", ["4"], ["1"]>, unit = "("}> {engine = "m"} : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: toymat.mul: unit: '(' is not an expression
// -----
// a tensor has a number format that exists.
builtin.module {
  "imc.block"() <{sym_name = "main", entry = true, calls = 1 : i64}> ({
    "toyvec.copy"() <{dst = #imc.view<"a", "0", "float32", ["4"], ["1"]>, src = #imc.view<"a", "0", "float31", ["4"], ["1"]>}> {engine = "v"} : () -> ()
  }) : () -> ()
}
// CHECK: error:
// CHECK: toyvec.copy: src: 'float31' is no number format
