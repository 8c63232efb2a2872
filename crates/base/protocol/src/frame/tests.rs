use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn read_all(bytes: &[u8]) -> Result<Vec<Frame>, Error> {
    // A slice is always ready, so the future is never pending.
    let mut rest = bytes;
    let mut frames = vec![];
    loop {
        let mut future = std::pin::pin!(read(&mut rest));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match future.as_mut().poll(&mut context) {
            std::task::Poll::Ready(Ok(Some(frame))) => frames.push(frame),
            std::task::Poll::Ready(Ok(None)) => return Ok(frames),
            std::task::Poll::Ready(Err(error)) => return Err(error),
            std::task::Poll::Pending => panic!("a slice is always ready"),
        }
    }
}

#[test]
fn every_frame_comes_back_as_it_went() {
    let frames = vec![
        Frame::Stdin(b"in\0".to_vec()),
        Frame::StdinEnd,
        Frame::Signal(15),
        Frame::Resize { rows: 24, columns: 300 },
        Frame::Stdout(vec![7; MAX_PAYLOAD]),
        Frame::Stderr(vec![]),
        Frame::Exit(Exit { code: Some(-1), signal: None }),
        Frame::Exit(Exit { code: None, signal: Some(9) }),
        Frame::Error(b"{}".to_vec()),
    ];
    let bytes: Vec<u8> = frames.iter().flat_map(Frame::encode).collect();
    assert_eq!(read_all(&bytes).unwrap(), frames);
}

#[test]
fn what_is_no_frame_is_refused() {
    assert!(matches!(read_all(&[1, 0xff, 0, 0, 0]), Err(Error::TooLong { .. })));
    assert!(matches!(read_all(&[99, 0, 0, 0, 0]), Err(Error::Kind { kind: 99 })));
    assert!(matches!(read_all(&[SIGNAL, 0, 0, 0, 1, 9]), Err(Error::Length { .. })));
    assert!(matches!(read_all(&[EXIT, 0, 0, 0, 5, 2, 0, 0, 0, 0]), Err(Error::Length { .. })));
    assert!(matches!(read_all(&[STDIN, 0, 0, 0, 2, 9]), Err(Error::Io(_))));
    assert!(matches!(read_all(&[STDIN, 0, 0]), Err(Error::Io(_))));
}

#[test]
fn exit_codes_are_those_of_a_shell() {
    assert_eq!(Exit { code: Some(3), signal: None }.shell_code(), 3);
    assert_eq!(Exit { code: None, signal: Some(9) }.shell_code(), 137);
}

fn frames() -> impl Strategy<Value = Frame> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..2000);
    let exit = |code, signal| Frame::Exit(Exit { code, signal });
    prop_oneof![
        bytes().prop_map(Frame::Stdin),
        Just(Frame::StdinEnd),
        bytes().prop_map(Frame::Stdout),
        bytes().prop_map(Frame::Stderr),
        bytes().prop_map(Frame::Error),
        any::<i32>().prop_map(Frame::Signal),
        any::<(u16, u16)>().prop_map(|(rows, columns)| Frame::Resize { rows, columns }),
        any::<i32>().prop_map(move |code| exit(Some(code), None)),
        any::<i32>().prop_map(move |signal| exit(None, Some(signal))),
    ]
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn frames_come_back_however_the_stream_is_cut(
        frames in proptest::collection::vec(frames(), 0..12),
        piece in 1_usize..4000,
    ) {
        runtime().block_on(async {
            let (mut near, far) = tokio::io::duplex(piece);
            let mut reader = FrameReader::new(far);
            let write_all = async {
                for frame in &frames {
                    write(&mut near, frame).await.unwrap();
                }
                near.shutdown().await.unwrap();
            };
            let read_all = async {
                let mut read = Vec::new();
                while let Some(frame) = reader.next().await.unwrap() {
                    read.push(frame);
                }
                read
            };
            let ((), read) = tokio::join!(write_all, read_all);
            assert_eq!(read, frames);
        });
    }

    #[test]
    fn a_cut_frame_is_an_error_and_never_another_frame(
        frame in frames(),
        at in any::<prop::sample::Index>(),
    ) {
        let bytes = frame.encode();
        let at = at.index(bytes.len());
        assert_eq!(whole(&bytes[..at]).unwrap(), None);
        runtime().block_on(async {
            let next = FrameReader::new(&bytes[..at]).next().await;
            let read = read(&mut &bytes[..at]).await;
            if at == 0 {
                assert!(matches!((next, read), (Ok(None), Ok(None))));
            } else {
                assert!(matches!((next, read), (Err(Error::Io(_)), Err(Error::Io(_)))));
            }
        });
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        runtime().block_on(async {
            let mut reader = FrameReader::new(bytes.as_slice());
            while let Ok(Some(_)) = reader.next().await {}
        });
    }
}

#[tokio::test]
async fn a_reader_whose_future_is_dropped_loses_nothing() {
    let (mut near, far) = tokio::io::duplex(64);
    let mut reader = FrameReader::new(far);
    for byte in Frame::Stdout(b"whole".to_vec()).encode() {
        let early = tokio::time::timeout(Duration::from_millis(1), reader.next()).await;
        assert!(early.is_err(), "{early:?}");
        near.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(reader.next().await.unwrap(), Some(Frame::Stdout(b"whole".to_vec())));
}

#[tokio::test]
async fn tagged_frames_come_back_as_they_went_in_pieces_of_any_size() {
    let frames = [
        Frame::Request(b"{}".to_vec()),
        Frame::Response(vec![]),
        Frame::Progress(b"1".to_vec()),
        Frame::Cancel,
        Frame::Data(vec![3; MAX_PAYLOAD]),
        Frame::Data(vec![4; 100_000]),
        Frame::DataEnd,
        Frame::Credit(u32::MAX),
        Frame::Exit(Exit { code: Some(3), signal: None }),
    ];
    let frames: Vec<Tagged> =
        (1..).zip(frames).map(|(request, frame)| Tagged { request, frame }).collect();
    let bytes: Vec<u8> = frames.iter().flat_map(Tagged::encode).collect();
    for piece in [1, 7, 4096, usize::MAX] {
        let (mut to, from) = tokio::io::duplex(64 << 10);
        let bytes = bytes.clone();
        let writer = tokio::spawn(async move {
            for piece in bytes.chunks(piece.min(bytes.len())) {
                to.write_all(piece).await.unwrap();
            }
        });
        let mut reader = TaggedReader::new(from);
        for expected in &frames {
            // Dropped futures lose nothing.
            let frame = loop {
                tokio::select! {
                    biased;
                    frame = reader.next() => break frame.unwrap().unwrap(),
                    () = tokio::task::yield_now() => {}
                }
            };
            assert_eq!(&frame, expected);
            if let Frame::Data(bytes) = frame.frame {
                reader.recycle(bytes);
            }
        }
        assert!(reader.next().await.unwrap().is_none());
        writer.await.unwrap();
    }
}

#[tokio::test]
async fn tagged_frames_that_are_none_are_errors() {
    let refused = async |bytes: &[u8]| TaggedReader::new(bytes).next().await.unwrap_err();
    assert!(matches!(refused(&Frame::Cancel.encode()).await, Error::Kind { kind: 36 }));
    let huge = [0x80 | 37, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1];
    assert!(matches!(refused(&huge).await, Error::TooLong { .. }));
    assert!(matches!(refused(&huge[..4]).await, Error::Io(_)));
    assert!(matches!(
        refused(&[0x80 | 127, 0, 0, 0, 0, 0, 0, 0, 1]).await,
        Error::Kind { kind: 127 }
    ));
    assert!(matches!(
        refused(&[0x80 | 39, 0, 0, 0, 1, 0, 0, 0, 1, 9]).await,
        Error::Length { kind: 39, length: 1 }
    ));
}
