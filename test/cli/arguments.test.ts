/** What can be said on the command line, and what is answered to what cannot. */
import { describe, expect, test } from 'vitest'
import { UsageError, help, parseCommand } from '../../cli/arguments.ts'

const parse = (line: string): unknown => parseCommand(line.split(' ').filter((word) => word !== ''))

describe('parses', () => {
  const none = { device: undefined, adapter: undefined, threads: undefined }
  const train = { ...none, steps: undefined, batch: undefined, rate: undefined, seed: undefined, name: undefined, out: 'runs', resume: undefined, saveEvery: undefined, sampling: undefined }
  const bench = { device: 'cpu', adapter: undefined, threads: undefined, torch: undefined, only: undefined, seconds: 3, level: undefined, experimental: true, json: undefined, markdown: undefined }

  test.each([
    ['', { name: 'help' }],
    ['help', { name: 'help' }],
    ['train --help', { name: 'help' }],
    ['--version', { name: 'version' }],
    ['-v', { name: 'version' }],
    ['info --threads 2', { name: 'info', info: { ...none, threads: 2 } }],
    ['info --device webgpu --adapter H100', { name: 'info', info: { ...none, device: 'webgpu', adapter: 'H100' } }],
    ['devices', { name: 'devices' }],
    ['devices --verbose', { name: 'devices' }],
    ['--verbose', { name: 'help' }],
    ['train', { name: 'train', train }],
    ['train digits --steps 5 --batch=2 --seed 0 --rate 1e-4 --name a.b-c_1 --out x/y --device reference --save-every 7', { name: 'train', train: { ...train, device: 'reference', steps: 5, batch: 2, rate: 1e-4, seed: 0, name: 'a.b-c_1', out: 'x/y', saveEvery: 7 } }],
    ['train --resume runs/digits', { name: 'train', train: { ...train, resume: 'runs/digits' } }],
    ['train --resume runs/digits --save-every 9 --sampling 8', { name: 'train', train: { ...train, resume: 'runs/digits', saveEvery: 9, sampling: 8 } }],
    ['bench cpu', { name: 'bench', bench }],
    ['bench cpu --torch --threads 1 --only conv,matmul --seconds 0.5 --level relaxed --no-experimental --json a.json --markdown b.md', { name: 'bench', bench: { device: 'cpu', adapter: undefined, threads: 1, torch: 'python3', only: 'conv,matmul', seconds: 0.5, level: 'relaxed', experimental: false, json: 'a.json', markdown: 'b.md' } }],
    ['bench webgpu --adapter H100', { name: 'bench', bench: { ...bench, device: 'webgpu', adapter: 'H100' } }],
    ['bench cpu --torch --python pypy', { name: 'bench', bench: { ...bench, torch: 'pypy' } }],
    ['inspect a/b.safetensors', { name: 'inspect', inspect: { file: 'a/b.safetensors', verify: false } }],
    ['inspect --verify runs', { name: 'inspect', inspect: { file: 'runs', verify: true } }],
    ['sample --run r --count 3', { name: 'sample', sample: { ...none, run: 'r', count: 3, sampling: 100, seed: 0, file: undefined } }],
  ])('langevin %s', (line, command) => {
    expect(parse(line)).toEqual(command)
  })
})

describe('refuses', () => {
  test.each([
    ['fly', 'there is no command "fly"; use train, sample, inspect, bench, info or devices'],
    ['inspect', 'langevin inspect needs a file: langevin inspect FILE, a path of safetensors or of the index of shards'],
    ['inspect one two', 'what is "two"? See langevin --help'],
    ['info --verify', 'langevin info has no option --verify; see langevin --help'],
    ['train faces', 'there is no data set "faces"; use digits'],
    ['train digits twice', 'what is "twice"? See langevin --help'],
    ['train --stepz 3', `Unknown option '--stepz'; see langevin --help`],
    ['train --steps', `Option '--steps <value>' argument missing; see langevin --help`],
    ['train --steps 0', '--steps is 0, but must be an integer from 1 to 1000000000'],
    ['train --steps 1.5', '--steps is 1.5, but must be an integer from 1 to 1000000000'],
    ['train --batch many', '--batch is many, but must be an integer from 1 to 65536'],
    ['train --rate -1', `Option '--rate' argument is ambiguous`],
    ['train --rate=-1', '--rate is -1, but must be a number above 0'],
    ['train --device gpu', 'there is no device "gpu"; use webgpu, cpu or reference'],
    ['train --device cpu --adapter H100', '--adapter names a GPU; leave out --device cpu'],
    ['train --device webgpu --threads 2', '--threads is for the CPU; leave it out'],
    ['train --device reference --threads 2', '--threads is for the CPU; leave it out'],
    ['info --threads banana', '--threads is banana, but must be an integer from 1 to 256'],
    ['sample --run r --adapter H100 --threads 2', '--threads is for the CPU; leave it out'],
    ['devices --threads banana', 'langevin devices has no option --threads; see langevin --help'],
    ['devices --device cpu', 'langevin devices has no option --device; see langevin --help'],
    ['devices --adapter H100', 'langevin devices has no option --adapter; see langevin --help'],
    ['devices webgpu', 'what is "webgpu"? See langevin --help'],
    ['info --seed 3', 'langevin info has no option --seed; see langevin --help'],
    ['--seed 3', '--seed is an option of a command; put train, sample, inspect, bench, info or devices before it'],
    ['train --out=', '--out is empty; give it a value, or leave it out'],
    ['sample --run=', '--run is empty; give it a value, or leave it out'],
    ['bench cpu --only=', '--only is empty; give it a value, or leave it out'],
    ['bench cpu --adapter H100', 'langevin bench cpu measures the CPU; leave out --adapter'],
    ['train --name ../up', '--name ../up is no name for a folder; use letters, digits, dots, dashes and underscores'],
    ['train --resume r --name n', '--resume goes on in the folder it names; leave out --name and --out'],
    ['train --count 3', 'langevin train has no option --count; see langevin --help'],
    ['bench', 'langevin bench needs to know what: langevin bench cpu, or webgpu'],
    ['bench webgpu --level wide', '--level is for the CPU; leave it out'],
    ['bench webgpu --threads 2', '--threads is for the CPU; leave it out'],
    ['bench gpu', 'there is no benchmark of "gpu"; use cpu or webgpu'],
    ['bench cpu --seconds 0', '--seconds is 0, but must be a number above 0'],
    ['bench cpu --threads 0', '--threads is 0, but must be an integer from 1 to 256'],
    ['bench cpu --level avx', '--level is avx, but must be simd128 or relaxed or wide'],
    ['bench cpu --level wide --no-experimental', '--level wide needs an experimental flag of V8; leave out --no-experimental'],
    ['bench cpu --python pypy', '--python says how to run PyTorch; add --torch, or leave it out'],
    ['bench cpu --device reference', 'langevin bench cpu measures that device; leave out --device reference'],
    ['bench cpu --steps 3', 'langevin bench has no option --steps; see langevin --help'],
    ['sample', 'langevin sample needs --run DIR, the folder of a trained run'],
  ])('langevin %s', (line, message) => {
    expect(() => parse(line)).toThrow(UsageError)
    expect(() => parse(line)).toThrow(message)
  })
})

test('every option is in the help', () => {
  for (const option of ['steps', 'batch', 'rate', 'seed', 'name', 'out', 'resume', 'save-every', 'sampling', 'run', 'count', 'file', 'torch', 'python', 'only', 'seconds', 'level', 'no-experimental', 'json', 'markdown', 'device', 'adapter', 'threads', 'verbose', 'help', 'version']) expect(help).toContain(`--${option}`)
})
