// An unmodified noble as host of a virtual controller on a serial line. It prints STEP NAME for each step that passed.
//
// noble_client.js TERMINAL CONTROL CYCLES
'use strict';

const net = require('net');
const { withBindings } = require('@stoprocent/noble');

const target = '00:aa:01:01:00:01';
const noble = withBindings('hci', { hciDriver: 'uart', bindParams: { uart: { port: process.argv[2], baudRate: 1000000 } } });

const step = (name) => console.log('STEP', name);

function check(got, want, what) {
  if (got !== want) throw new Error(`${what}: ${got}, want ${want}`);
}

// control asks the peripheral itself.
function control(request) {
  return new Promise((resolve, reject) => {
    const socket = net.connect(process.argv[3], () => socket.write(JSON.stringify(request) + '\n'));
    let text = '';
    socket.on('data', (d) => {
      text += d;
      if (!text.includes('\n')) return;
      const answer = JSON.parse(text);
      socket.end();
      if (answer.ok) resolve(answer);
      else reject(new Error(text));
    });
    socket.on('error', reject);
  });
}

async function main() {
  await control({ op: 'reset' });
  await control({ op: 'forget_bonds' });
  await noble.waitForPoweredOnAsync(60000);
  step('power');
  const found = new Promise((resolve) => noble.on('discover', (p) => {
    if (p.address === target && p.advertisement.localName === 'GoldenTest1') resolve(p);
  }));
  await noble.startScanningAsync([], true);
  const peripheral = await found;
  check(peripheral.connectable, true, 'connectable');
  await noble.stopScanningAsync();
  step('scan');
  await peripheral.connectAsync();
  step('connect');
  const { services, characteristics } = await peripheral.discoverAllServicesAndCharacteristicsAsync();
  check(services.length, 8, 'services'); // noble keeps one of two with the same UUID
  step('list');
  const of = (n, list = characteristics) => list.find((c) => c.uuid === `a5a50${n}10004000800000805f9b0001`);
  check((await of(101).readAsync()).toString(), 'hello', 'value');
  check((await of(107).readAsync()).length, 300, 'long value');
  step('read');
  await of(104).writeAsync(Buffer.from('noble'), false);
  check((await of(104).readAsync()).toString(), 'noble', 'value');
  await of(107).writeAsync(Buffer.alloc(280, 7), false);
  check((await of(107).readAsync()).length, 280, 'long value');
  step('write');
  for (let i = 0; i < 20; i++) await of(103).writeAsync(Buffer.from([i]), true);
  await of(104).readAsync();
  const writes = (await control({ op: 'status' })).writes.filter((w) => w.handle === 31).map((w) => w.value).join();
  check(writes, Array.from({ length: 20 }, (_, i) => i.toString(16).padStart(2, '0')).join(), 'commands');
  step('command');
  for (const [n, handle, indicate] of [[105, 37, false], [106, 40, true]]) {
    const got = [];
    const came = new Promise((resolve) => of(n).on('data', (d) => {
      got.push(d.toString('hex'));
      if (got.length === 10) resolve();
    }));
    await of(n).subscribeAsync();
    for (let i = 0; i < 10; i++) await control({ op: 'notify', handle, value: '0' + i.toString(16), indicate });
    await came;
    check(got.join(), '00,01,02,03,04,05,06,07,08,09', 'updates');
    await of(n).unsubscribeAsync();
    step(indicate ? 'indicate' : 'notify');
  }
  check((await of(201).readAsync()).toString(), 'secret', 'encrypted value'); // it pairs by itself
  step('pair');
  await peripheral.disconnectAsync();
  step('disconnect');
  await peripheral.connectAsync();
  // The services come first: a link that ends before they are known is made again, of which the host is not told.
  const again = await peripheral.discoverAllServicesAndCharacteristicsAsync();
  check((await of(201, again.characteristics).readAsync()).toString(), 'secret', 'encrypted value'); // with the bond
  step('encrypt');
  const dropped = new Promise((resolve) => peripheral.once('disconnect', resolve));
  await control({ op: 'disconnect', reason: 0x13 });
  await dropped;
  step('dropped');
  for (let i = 0; i < Number(process.argv[4]); i++) {
    await peripheral.connectAsync();
    await peripheral.discoverServicesAsync();
    await peripheral.disconnectAsync();
  }
  step('cycles');
  process.exit(0);
}

main().catch((e) => {
  console.error(e);
  process.exit(1);
});
