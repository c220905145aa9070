/**
 * Methods of tensors and variables: a thin layer over the functions, which do the work. A method is the function of the
 * same name with the tensor as its first argument, `x.sum(0)` for `sum(x, 0)`; the list of names below is all there is to it,
 * and the types are computed from it. Importing this file puts them on the prototypes.
 */
import * as recompute from './recompute.ts'
import { leafTensor } from './create.ts'
import type { Device } from './device/device.ts'
import type { TypedArray } from './dtype.ts'
import { DTypeError } from './error.ts'
import { Tensor } from './graph.ts'
import type { TensorLike } from './graph.ts'
import { describeTensor, describeVariable } from './inspect.ts'
import * as activation from './functions/activation.ts'
import * as arithmetic from './ops/arithmetic.ts'
import * as elementwise from './ops/elementwise.ts'
import * as indexing from './ops/indexing.ts'
import * as logic from './ops/logic.ts'
import * as math from './ops/math.ts'
import * as matmul from './ops/matmul.ts'
import * as movement from './ops/movement.ts'
import * as pad from './functions/pad.ts'
import * as reduce from './ops/reduce.ts'
import * as scan from './ops/scan.ts'
import * as slice from './ops/slice.ts'
import * as softmax from './ops/softmax.ts'
import * as sort from './ops/sort.ts'
import * as statistics from './ops/statistics.ts'
import * as view from './functions/view.ts'
import { dispose, readData, readItem } from './realize.ts'
import { at, sizeOf } from './shape.ts'
import { Variable, variable } from './variable.ts'

const functions = {
  ...activation, ...arithmetic, ...recompute, ...elementwise, ...indexing, ...logic, ...math, ...matmul, ...movement, ...pad, ...reduce,
  ...scan, ...slice, ...softmax, ...sort, ...statistics, ...view,
}

type Functions = typeof activation & typeof arithmetic & typeof recompute & typeof elementwise & typeof indexing & typeof logic & typeof math &
  typeof matmul & typeof movement & typeof pad & typeof reduce & typeof scan & typeof slice & typeof softmax & typeof sort & typeof statistics & typeof view

const names = [
  'add', 'sub', 'mul', 'div', 'neg', 'maximum', 'minimum', 'pow', 'powInteger', 'square', 'remainder', 'floorDivide',
  'equal', 'notEqual', 'less', 'lessEqual', 'greater', 'greaterEqual', 'logicalAnd', 'logicalOr', 'logicalNot', 'isNaN', 'isFinite', 'cast',
  'exp', 'expm1', 'log', 'log1p', 'log2', 'sqrt', 'rsqrt', 'reciprocal', 'sin', 'cos', 'atan', 'tanh', 'erf', 'sigmoid', 'abs', 'sign', 'floor', 'ceil', 'round', 'trunc',
  'relu', 'leakyRelu', 'silu', 'mish', 'gelu', 'softplus', 'clamp', 'softmax', 'logSoftmax', 'matmul',
  'sum', 'prod', 'max', 'min', 'argmax', 'argmin', 'any', 'all', 'mean', 'variance', 'std', 'norm', 'logsumexp', 'cumsum', 'cumprod',
  'reshape', 'permute', 'transpose', 'expand', 'squeeze', 'expandDims', 'flatten', 'unflatten', 'tile', 'flip', 'roll', 'pad',
  'slice', 'narrow', 'select', 'split', 'unstack', 'gather', 'indexSelect', 'sort', 'argsort', 'topK', 'stopGradient',
] as const

type Named = Pick<Functions, (typeof names)[number]>
type Bound<F> = F extends (x: infer _, ...rest: infer R) => infer Y ? (...rest: R) => Y : never

/** What tensors and variables have in common. */
export type Methods = { readonly [K in keyof Named]: Bound<Named[K]> } & Reading

/** An array of arrays, as deep as a tensor has axes. */
export type Nested = number | boolean | Nested[]

interface Reading {
  /** The values in row-major order; realises the tensor first. f16 and bf16 come as f32, bool as 0 and 1. */
  data(): Promise<TypedArray>
  /** The value of a tensor with one element. Throws ShapeError if it has more. */
  item(): Promise<number>
  /** The values as nested arrays, `x[0][1]`; bools are booleans. */
  array(): Promise<Nested>
  toString(): string
}

declare module './graph.ts' {
  interface Tensor extends Methods {
    /**
     * The values on another device; the tensor itself if it is there already. Realises it: no gradient passes. Throws
     * DTypeError where that device has not its type.
     */
    to(device: Device): Promise<Tensor>
    /** Frees the memory of a realised tensor now rather than when it is collected; reading it afterwards is an error. */
    dispose(): void
    [Symbol.dispose](): void
  }
}

declare module './variable.ts' {
  interface Variable extends Methods {
    /** A variable on another device, with this one's value, name and whether it is trained; itself if it is there already. */
    to(device: Device): Promise<Variable>
  }
}

async function array(x: TensorLike): Promise<Nested> {
  const data = await readData(x)
  const nest = (axis: number, from: number): Nested => {
    if (axis === x.shape.length) return x.dtype === 'bool' ? at(data, from) !== 0 : at(data, from)
    const stride = sizeOf(x.shape.slice(axis + 1))
    return Array.from({ length: at(x.shape, axis) }, (_, i) => nest(axis + 1, from + i * stride))
  }
  return nest(0, 0)
}

async function moved(x: TensorLike, device: Device): Promise<Tensor> {
  if (!device.supports(x.dtype)) throw new DTypeError(`to: device ${device.name} has no ${x.dtype}; cast to f32 before moving`)
  return leafTensor(device, { kind: 'data', data: await readData(x) }, x.shape, x.dtype)
}

/** Methods that are on no list: `reading` for both classes, then each one's own. */
const reading = {
  data(this: TensorLike): Promise<TypedArray> {
    return readData(this)
  },
  item(this: TensorLike): Promise<number> {
    return readItem(this)
  },
  array(this: TensorLike): Promise<Nested> {
    return array(this)
  },
}

/** What Node's console prints. */
const inspect: unique symbol = Symbol.for('nodejs.util.inspect.custom')

const ofTensors = {
  async to(this: Tensor, device: Device): Promise<Tensor> {
    return this.device === device ? this : moved(this, device)
  },
  dispose(this: Tensor): void {
    dispose(this)
  },
  [Symbol.dispose](this: Tensor): void {
    dispose(this)
  },
  toString(this: Tensor): string {
    return describeTensor(this)
  },
  [inspect](this: Tensor): string {
    return describeTensor(this)
  },
}

const ofVariables = {
  async to(this: Variable, device: Device): Promise<Variable> {
    return this.device === device ? this : variable(await moved(this, device), { name: this.name, trainable: this.trainable })
  },
  toString(this: Variable): string {
    return describeVariable(this)
  },
  [inspect](this: Variable): string {
    return describeVariable(this)
  },
}

const listed = Object.fromEntries(
  names.map((name) => [
    name,
    function (this: TensorLike, ...rest: readonly unknown[]): unknown {
      const result: unknown = Reflect.apply(functions[name], undefined, [this, ...rest])
      return result
    },
  ]),
)

function define(prototype: object, methods: object): void {
  for (const key of Reflect.ownKeys(methods)) Object.defineProperty(prototype, key, { value: Reflect.get(methods, key), writable: true, configurable: true })
}

define(Tensor.prototype, { ...listed, ...reading, ...ofTensors })
define(Variable.prototype, { ...listed, ...reading, ...ofVariables })

export { Tensor }
