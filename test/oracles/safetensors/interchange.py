"""Files of the Python package safetensors, for comparison.

    python3 interchange.py write FOLDER   writes all.safetensors, foreign.safetensors and expected.json
    python3 interchange.py read FILE      prints the tensors of a file, and whether writing them again gives the same bytes
"""
import ctypes
import json
import pathlib
import struct
import sys

import safetensors

PYTHON_NAMES = {
    "F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "I32": "int32", "I8": "int8",
    "U32": "uint32", "U8": "uint8", "BOOL": "bool", "U64": "uint64", "U16": "uint16", "I16": "int16", "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2", "F8_E8M0": "float8_e8m0fnu", "F4": "float4_e2m1fn_x2",
}


def encode(tensors, metadata):
    """tensors: (name, dtype, shape, bytes)"""
    buffers = [ctypes.create_string_buffer(data, max(1, len(data))) for *_, data in tensors]
    specs = {
        name: safetensors.TensorSpec(dtype=PYTHON_NAMES[dtype], shape=shape, data_ptr=ctypes.addressof(buffer), data_len=len(data))
        for (name, dtype, shape, data), buffer in zip(tensors, buffers)
    }
    return bytes(safetensors.serialize(specs, metadata=metadata))


FLOATS = [0.0, -0.0, 1.0, -2.5, 1 / 3, 65504.0, 2.0**-24, 3e-5, float("inf"), -float("inf"), 0.1, 6e4]
CODES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I8": "b", "U32": "I", "U8": "B", "BOOL": "?"}
VALUES = {
    "F64": FLOATS + [1e300, 5e-324], "F32": FLOATS + [3e38, 1e-45], "F16": FLOATS, "I64": [0, -1, 2**31 - 1, -(2**31), 7, 8],
    "I32": [0, -1, 2**31 - 1, -(2**31)], "I8": [0, -1, 127, -128], "U32": [0, 1, 2**32 - 1, 2**31], "U8": [0, 1, 255, 128], "BOOL": [0, 1, 1, 0],
}
NAMES = ["", "0", "10", "9", "__proto__", "constructor", "a.b.weight", "\"quoted\"\\\n\x01\x7f", "\u00e9", "\u2028", "\uffff", "\U0001f600"]


def write(folder):
    tensors = [(f"values.{dtype}", dtype, [2, len(values) // 2], struct.pack(f"<{len(values)}{CODES[dtype]}", *values)) for dtype, values in VALUES.items()]
    tensors += [("values.BF16", "BF16", [4, 2], struct.pack("<8H", 0x0000, 0x8000, 0x3F80, 0xC020, 0x3EAB, 0x7F80, 0x0001, 0x7F7F))]
    tensors += [(f"empty.{dtype}", dtype, [3, 0, 2], b"") for dtype in ("F32", "U8")]
    tensors += [(f"scalar.{dtype}", dtype, [], struct.pack(f"<{CODES[dtype]}", 3)) for dtype in ("F32", "I64", "U8")]
    tensors += [(name, "U8", [1], bytes([i])) for i, name in enumerate(NAMES)]
    (folder / "all.safetensors").write_bytes(encode(tensors, {"format": "pt \u00e9"}))
    sizes = {"U64": 8, "C64": 8, "U16": 2, "I16": 2}
    foreign = [(dtype, dtype, [2], bytes(2 * sizes.get(dtype, 1))) for dtype in PYTHON_NAMES if dtype not in CODES and dtype not in ("BF16", "F4")]
    foreign += [("F4", "F4", [1], bytes(1)), ("known", "F32", [1], struct.pack("<f", 1))]  # F4 is given in pairs
    (folder / "foreign.safetensors").write_bytes(encode(foreign, None))
    values = {name: [float(x) for x in struct.unpack(f"<{len(data) // struct.calcsize(CODES[dtype])}{CODES[dtype]}", data)] for name, dtype, _, data in tensors if name.startswith("values.") and dtype in CODES}
    values["values.BF16"] = [struct.unpack("<f", bytes(2) + tensors[len(VALUES)][3][i : i + 2])[0] for i in range(0, 16, 2)]
    text = json.dumps({"version": safetensors.__version__, "values": values}, indent=1)
    (folder / "expected.json").write_text(text.replace("Infinity", "1e999") + "\n")


def read(file):
    whole = pathlib.Path(file).read_bytes()
    tensors = [(name, tensor["dtype"], tensor["shape"], bytes(tensor["data"])) for name, tensor in safetensors.deserialize(whole)]
    metadata = json.loads(whole[8 : 8 + struct.unpack("<Q", whole[:8])[0]]).get("__metadata__")
    listed = [{"name": name, "dtype": dtype, "shape": shape, "hex": data.hex()} for name, dtype, shape, data in tensors]
    print(json.dumps({"metadata": metadata, "tensors": listed, "same": encode(tensors, metadata) == whole}))


if sys.argv[1] == "write":
    write(pathlib.Path(sys.argv[2]))
else:
    read(sys.argv[2])
