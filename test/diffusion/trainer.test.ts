/** The training loop: a run that was saved and taken up, on any number of threads, is the run that never stopped. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { decodeTraining } from '../../diffusion/checkpoint.ts'
import { DivergedError, Trainer } from '../../diffusion/trainer.ts'
import type { FinishedStep, TrainerOptions } from '../../diffusion/trainer.ts'
import { CheckpointError, ConfigError, RandomGenerator, add, device as openDevice, mseLoss, mul, normal, silu } from '../../engine/index.ts'
import type { Device, Tensor, TensorLike } from '../../engine/index.ts'
import { BatchNorm2d, Conv2d, Dropout, Linear, Module, freeze } from '../../nn/index.ts'
import type { HostTensor } from '../../nn/index.ts'
import { decodeSafetensors } from '../../nn/checkpoint/read.ts'
import { encodeSafetensors } from '../../nn/checkpoint/write.ts'

class Mlp extends Module<[TensorLike], Tensor> {
  readonly first: Linear
  readonly last: Linear

  constructor(device: Device, hidden = 37) {
    super()
    const options = { device, generator: new RandomGenerator(5) }
    this.first = new Linear(3, hidden, options)
    this.last = new Linear(hidden, 3, options)
  }

  forward(x: TensorLike): Tensor {
    return this.last.call(silu(this.first.call(x)))
  }
}

const examples = { shape: [11, 3], values: Float32Array.from({ length: 33 }, (_, i) => Math.sin(i)) }

function make(device: Device, { hidden = 37, ...options }: Partial<TrainerOptions> & { hidden?: number } = {}): Trainer {
  const model = new Mlp(device, hidden)
  return new Trainer({
    model,
    device,
    examples,
    batch: 4,
    generator: new RandomGenerator(9),
    loss: (x, generator) => mseLoss(model.call(add(x, mul(normal(x.shape, { generator, device }), 0.1))), x),
    optimizer: { lr: 1e-2, maxNorm: 0.5 },
    ema: { decay: 0.9 },
    ...options,
  })
}

async function collect(steps: AsyncIterable<FinishedStep>): Promise<FinishedStep[]> {
  const all: FinishedStep[] = []
  for await (const step of steps) all.push(step)
  return all
}

let one: Device
let two: Device
beforeAll(async () => {
  one = await openDevice('cpu', { threads: 1 })
  two = await openDevice('cpu', { threads: 2, makeDefault: false })
})
afterAll(async () => {
  await one.close()
  await two.close()
})

describe('a run', () => {
  test('yields every step once, in order, and learns', async () => {
    const trainer = make(one)
    const steps = await collect(trainer.steps(60))
    expect(steps.map((s) => s.step)).toEqual(Array.from({ length: 60 }, (_, i) => i + 1))
    expect(trainer.history.loss).toEqual(steps.map((s) => s.loss))
    expect(steps.at(-1)?.loss).toBeLessThan(0.5 * (steps[0]?.loss ?? 0))
  })

  test('is one plan and one submit a step', async () => {
    const trainer = make(one)
    await collect(trainer.steps(2))
    one.resetCounters()
    await collect(trainer.steps(7))
    const { submits, plansCompiled } = one.counters
    expect({ submits, plansCompiled }).toEqual({ submits: 5, plansCompiled: 0 })
  })

  test('left early has finished the step it began', async () => {
    const trainer = make(one)
    for await (const { step } of trainer.steps(100)) if (step === 3) break
    expect(trainer.history.loss.length).toBe(trainer.step)
    const { step, history } = decodeTraining(await trainer.save(), 'file')
    expect([step, history.loss.length]).toEqual([trainer.step, trainer.step])
  })
})

describe('a run that is taken up', () => {
  const steps = 23 // more than two epochs of eleven examples in batches of four

  test.each([[1, 1], [2, 2], [2, 1]])('is bit for bit the one that never stopped: %i and then %i threads', async (...threads) => {
    const [before = one, after = one] = threads.map((count) => (count === 1 ? one : two))
    const whole = make(one)
    await collect(whole.steps(steps))
    const first = make(before)
    for await (const { step } of first.steps(steps)) if (step === 9) break
    const second = make(after, { generator: new RandomGenerator(1234) })
    expect(second.restore(decodeTraining(await first.save({ a: 'note' }), 'file'))).toEqual([])
    await collect(second.steps(steps))
    expect(Buffer.compare(await second.save(), await whole.save())).toBe(0)
  })

  test('keeps what the model holds besides parameters: running statistics, frozen weights, the draws of dropout', async () => {
    class Regularised extends Module<[TensorLike], Tensor> {
      readonly first = new Conv2d(3, 8, 1)
      readonly norm = new BatchNorm2d(8)
      readonly dropout = new Dropout(0.4)
      readonly last = new Conv2d(8, 3, 1)

      forward(x: TensorLike): Tensor {
        return this.last.call(this.dropout.call(silu(this.norm.call(this.first.call(x)))))
      }
    }
    const build = (): Trainer => {
      const model = new Regularised()
      freeze(model.last)
      return new Trainer({ model, device: one, examples: { ...examples, shape: [11, 3, 1, 1] }, batch: 4, generator: new RandomGenerator(9), loss: (x) => mseLoss(model.call(x), x) })
    }
    one.manualSeed(3)
    const whole = build()
    const drawn = one.generator.state()
    await collect(whole.steps(9))
    const end = await whole.save()

    one.manualSeed(3)
    const first = build()
    expect(one.generator.state()).toEqual(drawn)
    await collect(first.steps(4))
    const saved = decodeTraining(await first.save(), 'file')
    expect([...saved.variables.keys()]).toEqual(expect.arrayContaining(['model.norm.running_var', 'model.last.weight']))
    const second = build() // starts with other weights, from another place in the device's stream
    second.restore(saved)
    await collect(second.steps(9))
    expect(Buffer.compare(await second.save(), end)).toBe(0)
  })

  test('on another device says so', async () => {
    const trainer = make(one)
    await collect(trainer.steps(1))
    const saved = decodeTraining(await trainer.save(), 'file')
    expect(make(one).restore({ ...saved, fingerprint: 'other' })).toEqual([expect.stringMatching(/^the checkpoint was written on another device \(other; this one is cpu/)])
  })

  test('does not fit another model', async () => {
    const saved = decodeTraining(await make(one).save(), 'file')
    const other = make(one, { hidden: 2 })
    expect(() => other.restore(saved, 'run.safetensors')).toThrow(CheckpointError)
    expect(() => other.restore(saved, 'run.safetensors')).toThrow(/run\.safetensors does not fit the model\. of another shape or type: model\.first\.weight is f32 \[37,3\] but the model has f32 \[2,3\]; .*ema\.average\.last\.weight/)
  })

  test('was written before there were digests: it is read', async () => {
    const bytes = await make(one).save({ note: 'kept' })
    const { tensors, metadata } = decodeSafetensors(bytes)
    const { version, ...rest } = metadata
    expect(version).toBe('3')
    const old = encodeSafetensors(tensors, { ...rest, version: '2' }, { digests: false })
    expect(decodeTraining(old, 'file')).toEqual(decodeTraining(bytes, 'file'))
    expect(() => decodeTraining(encodeSafetensors(tensors, metadata, { digests: false }), 'file')).toThrow('file has no valid digests; the file is damaged')
    expect(() => decodeTraining(encodeSafetensors(tensors, { ...rest, version: '1' }), 'file')).toThrow('file is of version 1, but this program reads version 3; use the program that wrote it')
  })

  test('lacks or has names that the model has not: it says so, and advises nothing that a trainer has not', async () => {
    const saved = decodeTraining(await make(one).save(), 'file')
    const renamed = (from: string, to: string): Map<string, HostTensor> => new Map([...saved.variables].map(([name, value]) => [name.replace(from, to), value]))
    for (const [from, to] of [['model.first.weight', 'model.head.weight'], ['optimizer.', 'optim.'], ['ema.average.last.bias', 'ema.last']] as const) {
      const restore = (): unknown => make(one).restore({ ...saved, variables: renamed(from, to) }, 'run.safetensors')
      expect(restore).toThrow(CheckpointError)
      expect(restore).toThrow(/^run\.safetensors does not fit the model\. missing: [^;]*\. unexpected: [^;]*\. Load it into the model it was saved from$/)
    }
  })
})

describe('what goes wrong', () => {
  test('a loss that is not finite ends the run, moves nothing, and saves nothing it moved', async () => {
    let calls = 0
    const model = new Mlp(one)
    const trainer = make(one, { model, loss: (x) => mul(mseLoss(model.call(x), x), ++calls > 5 ? Number.NaN : 1) })
    const seen: number[] = []
    const run = async (): Promise<void> => {
      for await (const { step } of trainer.steps(10)) seen.push(step)
    }
    await expect(run()).rejects.toThrow(DivergedError)
    expect(seen).toEqual([1, 2, 3, 4, 5])
    for (const v of Object.values(trainer.parameters)) for (const x of await v.data()) expect(x).toSatisfy(Number.isFinite)
  })

  test('parameters that are not finite are not saved', async () => {
    const trainer = make(one)
    const [name, first] = Object.entries(trainer.parameters)[0] ?? []
    first?.assign(mul(first, Number.NaN))
    await expect(trainer.save()).rejects.toThrow(`model.${name} is no longer finite at step 0; nothing was saved. Lower the learning rate, or clip the gradients`)
  })

  test.each([
    ['no safetensors', new Uint8Array(3), /run: it has 3 bytes/],
    ['another kind of safetensors', encodeSafetensors(new Map(), { format: 'pt' }), /run is a safetensors file, but not of a training run \(its format is pt\); pass a checkpoint that langevin train wrote/],
    ['no format', encodeSafetensors(new Map()), /\(its format is not given\)/],
    ['another version', encodeSafetensors(new Map(), { format: 'langevin-training', version: '9' }), /run is of version 9, but this program reads version 3/],
    ['no state', encodeSafetensors(new Map(), { format: 'langevin-training', version: '3', state: '{' }), /run has no valid state; the file is damaged/],
    ['no generator', encodeSafetensors(new Map(), { format: 'langevin-training', version: '3', state: '{"step":0,"notes":{}}' }), /run has no valid generator state/],
    ['a history of another length', encodeSafetensors(new Map(), { format: 'langevin-training', version: '3', state: '{"step":1,"notes":{},"fingerprint":"","generator":{"key":[0,0],"counter":[0,0]},"deviceGenerator":{"key":[0,0],"counter":[0,0]}}' }), /run has no valid history.loss/],
  ])('%s is not a checkpoint', (_, bytes, message) => {
    expect(() => decodeTraining(bytes, 'run')).toThrow(CheckpointError)
    expect(() => decodeTraining(bytes, 'run')).toThrow(message)
  })

  test('a flipped bit anywhere in a checkpoint is refused', async () => {
    const trainer = make(one, { hidden: 2 })
    await collect(trainer.steps(2))
    const file = await trainer.save({ note: 'of the caller' })
    let taken = 0
    for (let at = 0; at < file.length; at++) {
      for (const bit of at % 3 === 0 ? [0, 1, 2, 3, 4, 5, 6, 7] : [at % 8]) {
        const bad = file.slice()
        bad[at] = (bad[at] ?? 0) ^ (1 << bit)
        try {
          decodeTraining(bad, 'run')
          taken++
        } catch (error) {
          expect(error).toBeInstanceOf(CheckpointError)
        }
      }
    }
    expect(taken).toBe(0)
  })

  test('a checkpoint without digests is refused', () => {
    const bytes = encodeSafetensors(new Map(), { format: 'langevin-training', version: '3', state: '{}' }, { digests: false })
    expect(() => decodeTraining(bytes, 'run')).toThrow('run has no valid digests; the file is damaged')
  })

  test('options that make no sense', () => {
    expect(() => make(one, { batch: 0 })).toThrow(ConfigError)
    expect(() => make(one, { batch: 1.5 })).toThrow('Trainer: a batch of 1.5 is not a number of examples; use a positive integer')
    expect(() => make(one, { examples: { shape: [2, 3], values: new Float32Array(5) } })).toThrow('Trainer: examples of shape [2,3] need 6 values but there are 5')
  })
})
