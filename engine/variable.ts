/**
 * A variable is a named cell that owns its storage for life; no two cells and no output share memory.
 * `assign` moves the cell to a new node; reading records the cell and its version.
 */
import { leafOf, tensor } from './create.ts'
import type { CreateOptions, HostData } from './create.ts'
import type { Device } from './device/device.ts'
import type { DType } from './dtype.ts'
import { DTypeError, DeviceError, ShapeError } from './error.ts'
import { Tensor } from './graph.ts'
import type { Spec, TensorLike } from './graph.ts'
import type { Run } from './run.ts'
import { formatShape, sameShape } from './shape.ts'
import type { Shape } from './shape.ts'
import { Storage } from './storage.ts'

export class Variable implements TensorLike {
  readonly name: string
  readonly shape: Shape
  readonly dtype: DType
  readonly device: Device
  readonly storage: Storage
  /** One bit, which the nodes computed from the variable carry. Bits are shared once a device has more than 31 variables. */
  readonly mark: number
  /** Whether optimisers move it; a frozen variable can still be read and loaded. */
  trainable = true
  /** Names the value the cell holds once everything queued has run. */
  version = 0
  /** The run that writes that version, until it has succeeded. */
  producer: Run | undefined
  /** A number that walks over the graph note on it. */
  note = 0
  /** Set when a run failed halfway through writing the cell. */
  poison: Error | undefined
  private pending: Tensor | undefined
  private current: Tensor | undefined
  private substitute: Tensor | undefined
  private versions = 0
  private readonly specs: readonly Spec[]

  constructor(initial: Tensor, name: string) {
    this.name = name
    this.shape = initial.shape
    this.dtype = initial.dtype
    this.device = initial.device
    this.specs = [{ shape: this.shape, dtype: this.dtype }]
    this.mark = 1 << this.device.nextVariable() % 31
    this.storage = new Storage(this.device, initial, `variable ${name || '(unnamed)'}`)
    this.assign(initial)
  }

  /** The value as a tensor: the assigned node, or the cell at its present version. */
  read(): Tensor {
    if (this.substitute !== undefined) return this.substitute
    if (this.pending !== undefined) return this.pending
    if (this.poison !== undefined) throw new DeviceError(`variable ${this.name}: a run failed while writing it (${this.poison.message}); assign or load it again before reading`)
    this.current ??= leafOf(this.device, { kind: 'cell', cell: this, version: this.version }, this.specs)
    return this.current
  }

  /** Moves the cell to `value`, computed with the next realisation. Assigns in one realisation are simultaneous. */
  assign(value: TensorLike): void {
    const next = value.read()
    if (next.device !== this.device) throw new DeviceError(`assign: variable ${this.name} lives on ${this.device.name} but the value on ${next.device.name}; move it with .to(device)`)
    if (!sameShape(next.shape, this.shape)) throw new ShapeError(`assign: variable ${this.name} has shape ${formatShape(this.shape)} but the value has ${formatShape(next.shape)}; reshape or expand the value`)
    if (next.dtype !== this.dtype) throw new DTypeError(`assign: variable ${this.name} is ${this.dtype} but the value is ${next.dtype}; cast the value`)
    const { leaf } = next
    if (leaf?.kind === 'cell' && leaf.cell === this && leaf.version === this.version) {
      this.drop()
      return
    }
    this.pending = next
    this.device.moved.add(this)
  }

  /** Reads `value` instead of the cell while `fn` runs. */
  with<T>(value: TensorLike, fn: () => T): T {
    const outer = this.substitute
    if (!sameShape(value.shape, this.shape)) throw new ShapeError(`withValues: variable ${this.name} has shape ${formatShape(this.shape)} but its substitute has ${formatShape(value.shape)}`)
    if (value.dtype !== this.dtype) throw new DTypeError(`withValues: variable ${this.name} is ${this.dtype} but its substitute is ${value.dtype}; cast the substitute`)
    this.substitute = value.read()
    try {
      return fn()
    } finally {
      this.substitute = outer
    }
  }

  /** The assigned tensor that is yet to be computed. */
  get move(): Tensor | undefined {
    return this.pending
  }

  /** The queue takes the assigned value over: from here on the cell is at a new version. Returns what `undo` needs. */
  commit(run: Run): Commit {
    this.versions++
    const commit = new Commit(this, this.versions, this.version, this.producer, this.current)
    this.drop()
    this.current = undefined
    this.version = commit.made
    this.producer = run
    return commit
  }

  /** Forgets the assigned value. */
  drop(): void {
    this.pending = undefined
    this.device.moved.delete(this)
  }

  /** Goes back to the version before a commit whose run failed, unless the cell has moved on. */
  undo({ made, version, producer, current }: Commit, error: Error | undefined): void {
    if (this.version !== made) return
    this.version = version
    this.producer = producer
    this.current = current
    // A run before this one failed too, and could not go back while this one's value stood.
    if (producer?.error !== undefined) producer.undo(this)
    if (this.version === 0) this.poison = error // It never had a value to go back to.
  }
}

/** A variable's move to a new version, and where it was before. There are many at every step, so it is a plain record. */
export class Commit {
  readonly cell: Variable
  /** The new version. */
  readonly made: number
  readonly version: number
  readonly producer: Run | undefined
  readonly current: Tensor | undefined

  constructor(cell: Variable, made: number, version: number, producer: Run | undefined, current: Tensor | undefined) {
    this.cell = cell
    this.made = made
    this.version = version
    this.producer = producer
    this.current = current
  }
}

export const isTensorLike = (x: unknown): x is TensorLike => x instanceof Tensor || x instanceof Variable

export interface VariableOptions extends CreateOptions {
  readonly name?: string
  /** Default true. */
  readonly trainable?: boolean
}

/** A variable that starts at `initial`, a tensor or host data. */
export function variable(initial: TensorLike | HostData, { name = '', trainable = true, ...options }: VariableOptions = {}): Variable {
  const value = isTensorLike(initial) ? initial.read() : tensor(initial, null, options)
  const cell = new Variable(value, name)
  cell.trainable = trainable
  return cell
}

/** Runs `fn` with other values in the place of variables: no copy, the same plan (evaluation with EMA weights). */
export function withValues<T>(values: ReadonlyMap<Variable, TensorLike>, fn: () => T): T {
  return [...values].reduceRight<() => T>((inner, [cell, value]) => () => cell.with(value, inner), fn)()
}
