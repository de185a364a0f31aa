// What a program on bluer does: discover, connect, read, write, notify, pair, remove. Prints "ok STEP" or
// "not ok STEP: WHY" for each step and exits 0 if all were ok. "hold" as argument connects, subscribes and
// waits to be killed.
use bluer::{
    gatt::remote::{Characteristic, CharacteristicWriteRequest},
    gatt::WriteOp,
    AdapterEvent, Address, Device, DiscoveryFilter, DiscoveryTransport,
};
use futures::{pin_mut, StreamExt};
use std::{collections::HashSet, future::Future, time::Duration};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

type Res<T> = Result<T, Box<dyn std::error::Error>>;

const PULSE: &str = "C8:2B:96:10:00:01";
const LOCK: &str = "E1:5D:0A:10:00:03";

fn vendor(n: u32) -> Uuid {
    Uuid::parse_str(&format!("b1e5{n:04x}-6d5e-4c1b-9e3a-1f0c2d3e4f50")).unwrap()
}

fn need(cond: bool, what: &str) -> Res<()> {
    if cond {
        Ok(())
    } else {
        Err(what.to_string().into())
    }
}

async fn step<T>(failed: &mut u32, what: &str, f: impl Future<Output = Res<T>>) -> Option<T> {
    let r = match timeout(Duration::from_secs(45), f).await {
        Ok(r) => r,
        Err(_) => Err("timed out".into()),
    };
    match r {
        Ok(v) => {
            println!("ok {what}");
            Some(v)
        }
        Err(e) => {
            println!("not ok {what}: {e:?}");
            *failed += 1;
            None
        }
    }
}

async fn find(d: &Device, u: Uuid) -> Res<Characteristic> {
    for s in d.services().await? {
        for c in s.characteristics().await? {
            if c.uuid().await? == u {
                return Ok(c);
            }
        }
    }
    Err(format!("no characteristic {u}").into())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Res<()> {
    let mut bad = 0;
    let b = &mut bad;
    let pulse: Address = PULSE.parse()?;
    let lock: Address = LOCK.parse()?;
    let session = bluer::Session::new().await?;
    let adapter = session.default_adapter().await?;
    if std::env::args().nth(1).as_deref() == Some("hold") {
        let d = adapter.device(pulse)?;
        let scan = adapter.discover_devices().await?;
        pin_mut!(scan);
        while let Some(e) = scan.next().await {
            if matches!(e, AdapterEvent::DeviceAdded(a) if a == pulse) {
                break;
            }
        }
        d.connect().await?;
        let c = find(&d, vendor(4)).await?;
        let n = c.notify().await?;
        pin_mut!(n);
        while let Some(v) = n.next().await {
            println!("hold {v:?}");
        }
        return Ok(());
    }
    step(b, "power", async {
        adapter.set_powered(true).await?;
        need(adapter.is_powered().await?, "not powered")?;
        println!(
            "# {} {} {} {:?} {:?}",
            adapter.address().await?,
            adapter.address_type().await?,
            adapter.alias().await?,
            adapter.modalias().await?,
            adapter.system_name().await?
        );
        println!(
            "# {} {} {:?} {:?}",
            adapter.discoverable_timeout().await?,
            adapter.is_pairable().await?,
            adapter.uuids().await?,
            adapter.class().await?
        );
        need(
            !adapter.is_discovering().await?,
            "discovering before the start",
        )
    })
    .await;
    step(b, "discover", async {
        let filter = DiscoveryFilter {
            transport: DiscoveryTransport::Le,
            duplicate_data: false,
            ..Default::default()
        };
        adapter.set_discovery_filter(filter).await?;
        let scan = adapter.discover_devices().await?;
        pin_mut!(scan);
        let mut want: HashSet<Address> = [pulse, lock, "F3:6A:48:10:00:04".parse()?].into();
        while let Some(e) = scan.next().await {
            if let AdapterEvent::DeviceAdded(a) = e {
                let d = adapter.device(a)?;
                println!(
                    "# {a} {:?} {:?} {:?}",
                    d.name().await?,
                    d.rssi().await?,
                    d.manufacturer_data().await?
                );
                want.remove(&a);
                if want.is_empty() {
                    break;
                }
            }
        }
        need(want.is_empty(), "stream ended")
    })
    .await;
    step(b, "discover with changes", async {
        let scan = adapter.discover_devices_with_changes().await?;
        pin_mut!(scan);
        let mut n = 0;
        while let Some(e) = scan.next().await {
            if let AdapterEvent::DeviceAdded(_) = e {
                n += 1;
                if n > 8 {
                    break;
                }
            }
        }
        need(n > 8, "stream ended")
    })
    .await;
    step(b, "adapter's properties", async {
        for p in adapter.all_properties().await? {
            println!("#   {p:?}");
        }
        need(adapter.supported_advertising_instances().await? == 0, "a proxy does not advertise")
    })
    .await;
    step(b, "all properties", async {
        for p in adapter.device(pulse)?.all_properties().await? {
            println!("#   {p:?}");
        }
        Ok(())
    })
    .await;
    let dev = adapter.device(pulse)?;
    step(b, "connect", async {
        dev.connect().await?;
        need(dev.is_connected().await?, "not connected")
    })
    .await;
    step(b, "list", async {
        let mut n = 0;
        for s in dev.services().await? {
            for p in s.all_properties().await? {
                println!("#  {p:?}");
            }
            for c in s.characteristics().await? {
                n += 1;
                c.all_properties().await?;
                for d in c.descriptors().await? {
                    d.all_properties().await?;
                }
            }
        }
        need(n == 16, &format!("{n} characteristics"))
    })
    .await;
    step(b, "read", async {
        let v = find(&dev, vendor(6)).await?.read().await?;
        need(v.len() > 100, "short")
    })
    .await;
    step(b, "descriptor read", async {
        let c = find(&dev, vendor(2)).await?;
        let d = c.descriptors().await?;
        need(d[0].read().await? == b"Greeting", "value")
    })
    .await;
    step(b, "write with response", async {
        let c = find(&dev, vendor(2)).await?;
        // Plain write() is a write command, whatever the flags are.
        c.write_ext(
            b"from bluer",
            &CharacteristicWriteRequest {
                op_type: WriteOp::Request,
                ..Default::default()
            },
        )
        .await?;
        need(c.read().await? == b"from bluer", "value")
    })
    .await;
    step(b, "write without response", async {
        Ok(find(&dev, vendor(3)).await?.write(b"bluer").await?)
    })
    .await;
    step(b, "AcquireWrite", async {
        use tokio::io::AsyncWriteExt;
        let c = find(&dev, vendor(3)).await?;
        let mut w = c.write_io().await?;
        println!("# mtu {}", w.mtu());
        w.write_all(b"io").await?;
        drop(w);
        sleep(Duration::from_millis(200)).await;
        c.write(b"free again").await?;
        Ok(())
    })
    .await;
    step(b, "notify", async {
        let n = find(&dev, vendor(4)).await?.notify().await?;
        pin_mut!(n);
        for _ in 0..4 {
            println!("# {:?}", n.next().await.ok_or("ended")?);
        }
        Ok(())
    })
    .await;
    step(b, "AcquireNotify", async {
        let c = find(&dev, vendor(4)).await?;
        let n = c.notify_io().await?;
        for _ in 0..3 {
            println!("# {:?}", n.recv().await?);
        }
        drop(n);
        sleep(Duration::from_millis(300)).await;
        Ok(())
    })
    .await;
    step(b, "pair", async {
        let d = adapter.device(lock)?;
        let agent = session
            .register_agent(bluer::agent::Agent::default())
            .await?;
        d.pair().await?;
        need(d.is_paired().await?, "not paired")?;
        need(d.is_connected().await?, "not connected")?;
        let v = find(&d, Uuid::parse_str("10cc0003-37a1-4d2c-8f10-5b6a79881122")?)
            .await?
            .read()
            .await?;
        need(v == b"1234", "value")?;
        d.set_trusted(true).await?;
        need(d.is_trusted().await?, "trusted")?;
        drop(agent);
        d.disconnect().await?;
        need(!d.is_connected().await?, "connected")
    })
    .await;
    step(b, "events", async {
        let ev = dev.events().await?;
        pin_mut!(ev);
        dev.set_alias("my pulse".into()).await?;
        println!("# {:?}", ev.next().await);
        need(dev.alias().await? == "my pulse", "alias")
    })
    .await;
    step(b, "disconnect", async {
        dev.disconnect().await?;
        need(!dev.is_connected().await?, "connected")
    })
    .await;
    step(b, "reconnect", async {
        dev.connect().await?;
        need(
            find(&dev, vendor(2)).await?.read().await? == b"from bluer",
            "value",
        )?;
        Ok(dev.disconnect().await?)
    })
    .await;
    step(b, "monitor", async {
        use bluer::monitor::{Monitor, MonitorEvent, Pattern, Type};
        let mm = adapter.monitor().await?;
        let mut h = mm
            .register(Monitor {
                monitor_type: Type::OrPatterns,
                patterns: Some(vec![Pattern {
                    data_type: 1,
                    start_position: 0,
                    content: vec![6],
                }]),
                ..Default::default()
            })
            .await?;
        while let Some(e) = h.next().await {
            if let MonitorEvent::DeviceFound(d) = e {
                println!("# found {}", d.device);
                break;
            }
        }
        Ok(())
    })
    .await;
    step(b, "remove", async {
        adapter.remove_device(lock).await?;
        adapter.remove_device(pulse).await?;
        let left = adapter.device_addresses().await?;
        need(!left.contains(&lock), "still there")?;
        match dev.connect().await {
            Err(e) => {
                println!("# {e:?}");
                Ok(())
            }
            Ok(()) => Err("connected a removed device".into()),
        }
    })
    .await;
    std::process::exit((bad > 0) as i32)
}
