/**
 * What a model consists of: a row for each call of a module, with its output, parameters, FLOPs and activation memory.
 * The model is traced, not run: calls only record a graph, whose products and convolutions are then counted.
 */
import { ConfigError, Tensor, Variable, zeros } from '../engine/index.ts'
import type { Device, Shape } from '../engine/index.ts'
import { getDefaultDevice } from '../engine/device/device.ts'
import { byteSize } from '../engine/dtype.ts'
import type { Node, Spec } from '../engine/graph.ts'
import { at, formatShape, sizeOf } from '../engine/shape.ts'
import { Buffer, namedModules, parameterCount } from './module.ts'
import type { Module } from './module.ts'

export interface SummaryRow {
  /** `down_blocks.0.resnets.1`; empty for the model itself. */
  readonly path: string
  /** The name of its class. */
  readonly type: string
  /** Shapes of the tensors it returned. */
  readonly outputs: readonly Shape[]
  /** Scalars in its parameters and those of the modules inside. */
  readonly parameters: number
  /** Multiplications and additions of matrix products, convolutions and attention in one call, those of modules inside included. */
  readonly flops: number
  /** Bytes of what it returned, or of what the innermost modules inside it returned. */
  readonly activationBytes: number
}

export interface Summary {
  /** A row for each call, outer modules before inner ones; the first is the model. A module that is called twice has two. */
  readonly rows: readonly SummaryRow[]
  readonly parameters: number
  /** Those that are not frozen. */
  readonly trainable: number
  readonly parameterBytes: number
  readonly flops: number
  readonly activationBytes: number
  /** The rows as text, with the totals below; `depth` is how many names a path may have. */
  table(depth?: number): string
}

/** A call as it was met. The nodes that it made have numbers between `start` and `end`. */
interface Call {
  readonly module: Module
  readonly path: string
  readonly start: number
  end: number
  outputs: readonly Tensor[]
}

/**
 * Calls `model` once, in evaluation mode, on `inputs`: what its `call` takes, with shapes standing for zeros of f32. Works
 * on every device, the meta device included, and computes nothing. Throws ConfigError where no inputs are given.
 */
export function summary(model: Module, ...inputs: readonly unknown[]): Summary {
  if (inputs.length === 0) throw new ConfigError('summary: there are no inputs; pass their shapes, such as summary(model, [1, 3, 32, 32]), or tensors')
  const parameters = [...new Set(Object.values(model.stateDict()))].filter((variable) => !(variable instanceof Buffer))
  const device = parameters[0]?.device ?? getDefaultDevice('summary')
  const calls = trace(model, device, inputs.map((x) => (isShape(x) ? zeros(x, { device }) : x)))
  const costs = costsOf(at(calls, 0))
  const innermost = calls.filter((call) => !calls.some((other) => within(other.start, call)))
  const rows = calls.map((call): SummaryRow => ({
    path: call.path,
    type: call.module.constructor.name,
    outputs: call.outputs.map(({ shape }) => shape),
    parameters: parameterCount(call.module),
    flops: sum(costs.filter(({ id }) => within(id, call)), ({ flops }) => flops),
    activationBytes: sum(innermost.filter((leaf) => leaf === call || within(leaf.start, call)), (leaf) => bytesOf(leaf.outputs.filter(({ node }) => within(node.id, leaf)))),
  }))
  const { flops, activationBytes } = at(rows, 0)
  const totals = { parameters: parameterCount(model), trainable: parameterCount(model, { trainable: true }), parameterBytes: bytesOf(parameters), flops, activationBytes }
  return { rows, ...totals, table: (depth = Infinity) => format(rows.filter(({ path }) => path === '' || path.split('.').length <= depth), totals) }
}

const isShape = (x: unknown): x is Shape => Array.isArray(x) && x.every((d) => typeof d === 'number')
const within = (id: number, { start, end }: Call): boolean => id > start && id < end
const bytesOf = (specs: readonly Spec[]): number => sum(specs, ({ shape, dtype }) => sizeOf(shape) * byteSize(dtype))

function sum<T>(list: readonly T[], value: (item: T) => number): number {
  return list.reduce((total, item) => total + value(item), 0)
}

/** Calls the model with every module inside reporting its calls; afterwards all is as before. */
function trace(model: Module, device: Device, inputs: readonly unknown[]): Call[] {
  const calls: Call[] = []
  const modules = [...namedModules(model).values()].map((module) => ({ module, training: module.training, own: Object.getOwnPropertyDescriptor(module, 'forward') }))
  for (const { module } of modules) {
    const forward = module.forward.bind(module)
    const observed = (...given: readonly unknown[]): unknown => {
      const call: Call = { module, path: device.path, start: device.nextNodeId(), end: Infinity, outputs: [] }
      calls.push(call)
      const result: unknown = Reflect.apply(forward, undefined, given)
      call.end = device.nextNodeId()
      call.outputs = tensorsIn(result)
      return result
    }
    Object.defineProperty(module, 'forward', { value: observed, configurable: true })
    module.training = false
  }
  try {
    const call = model.call.bind(model)
    device.withPath('', (): unknown => Reflect.apply(call, undefined, inputs))
    return calls
  } finally {
    for (const { module, training, own } of modules) {
      module.training = training
      if (own === undefined) Reflect.deleteProperty(module, 'forward')
      else Object.defineProperty(module, 'forward', own)
    }
  }
}

function tensorsIn(result: unknown): Tensor[] {
  if (result instanceof Tensor) return [result]
  return typeof result === 'object' && result !== null && !(result instanceof Variable) ? Object.values(result).flatMap(tensorsIn) : []
}

/** The FLOPs of each node that the call made and its outputs need. */
function costsOf(call: Call): { id: number; flops: number }[] {
  return nodesBehind(call.outputs, ({ id }) => !within(id, call)).map((node) => ({ id: node.id, flops: flopsOf(node) }))
}

/** Nodes that tensors are computed from, themselves included, as far as those where `ends` says so. */
function nodesBehind(tensors: readonly Tensor[], ends: (node: Node) => boolean): Node[] {
  const found = new Set<Node>()
  const waiting = tensors.map(({ node }) => node)
  for (let node = waiting.pop(); node !== undefined; node = waiting.pop()) {
    if (found.has(node) || ends(node)) continue
    found.add(node)
    for (const input of node.inputs) waiting.push(input.node)
  }
  return [...found]
}

/** Two for each multiplication and addition. A fused op has those of its decomposition. */
function flopsOf({ op, inputs, attributes, outputs }: Node): number {
  if (op.kind === 'fused') {
    const given = new Set(inputs.map(({ node }) => node))
    return sum(nodesBehind([op.decompose(inputs, attributes)].flat(), (node) => given.has(node)), flopsOf)
  }
  const [first, second] = inputs.map(({ shape }) => shape)
  const [output] = outputs
  if (first === undefined || second === undefined || output === undefined) return 0
  switch (op.name) {
    case 'matmul':
      return 2 * sizeOf(output.shape) * at(first, first.length - 1)
    case 'conv': // y [N, O, …] from w [O, C/groups, …]
      return 2 * sizeOf(output.shape) * sizeOf(second.slice(1))
    case 'convInputGrad': // dy [N, O, …] with w: the transposed convolution
      return 2 * sizeOf(first) * sizeOf(second.slice(1))
    case 'convWeightGrad': // dy with dw
      return 2 * sizeOf(second) * sizeOf(output.shape.slice(1))
    default:
      return 0
  }
}

function format(rows: readonly SummaryRow[], { parameters, trainable, parameterBytes, flops, activationBytes }: Omit<Summary, 'rows' | 'table'>): string {
  const lines = [
    ['module', 'type', 'output', 'parameters', 'FLOPs', 'activations'],
    ...rows.map((row) => [row.path || '(model)', row.type, row.outputs.map(formatShape).join(' '), grouped(row.parameters), count(row.flops), memory(row.activationBytes)]),
  ]
  const widths = at(lines, 0).map((_, i) => Math.max(...lines.map((line) => at(line, i).length)))
  const table = lines.map((line) => line.map((text, i) => (i < 3 ? text.padEnd(at(widths, i)) : text.padStart(at(widths, i)))).join('  ').trimEnd())
  const trained = parameters === trainable ? '' : `, ${grouped(trainable)} of them trained`
  return [...table, `${grouped(parameters)} parameters (${memory(parameterBytes)})${trained}, ${count(flops)}FLOP, ${memory(activationBytes)} of activations`].join('\n')
}

const grouped = (n: number): string => n.toLocaleString('en')
const count = (n: number): string => scaled(n, 1000, ['', 'k', 'M', 'G', 'T', 'P'])
const memory = (bytes: number): string => `${scaled(bytes, 1024, ['', 'Ki', 'Mi', 'Gi', 'Ti'])}B`

/** Three digits and a unit: `1.23 G`. */
function scaled(n: number, base: number, units: readonly string[]): string {
  const power = Math.min(units.length - 1, Math.max(0, Math.floor(Math.log(n) / Math.log(base))))
  const shown = n / base ** power
  return n === 0 ? '0 ' : `${power === 0 ? shown : shown.toPrecision(shown < 999.5 ? 3 : 4)} ${at(units, power)}`
}
