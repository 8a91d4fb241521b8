use proptest::prelude::*;
use serde_json::json;
use tray_domain::manifest::LeftOutReason;
use zeroize::Zeroizing;

use super::*;
use crate::keys::{ArchiveKey, MASTER_KEY_BYTES, MasterKey};

fn key(fill: u8) -> ArchiveKey {
    MasterKey::from_plaintext(&Zeroizing::new(vec![fill; MASTER_KEY_BYTES]))
        .unwrap()
        .objects(&run())
}
fn org() -> OrgId {
    "7c9e6679-7425-40de-944b-e07fc1f90ae7".parse().unwrap()
}
fn other_org() -> OrgId {
    "00000000-0000-4000-8000-000000000000".parse().unwrap()
}
fn run() -> RunId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap()
}
fn other_run() -> RunId {
    "01ARZ3NDEKTSV4RRFFQ69G5FAW".parse().unwrap()
}
fn object(name: usize, bytes: usize) -> Value {
    json!({"kind": "ConfigMap", "metadata": {"name": format!("c{name}")}, "data": {"k": "x".repeat(bytes)}})
}
fn preamble() -> Line {
    Line::Preamble {
        started_at: Timestamp::UNIX_EPOCH,
        namespace: "org-acme-7c9e6679".into(),
    }
}
fn closing(objects: u64) -> Line {
    Line::Closing {
        objects,
        bytes_read: 7,
        warnings: vec!["w".into()],
        left_out: left_out(),
    }
}
fn left_out() -> Vec<LeftOut> {
    let mut left_out = Vec::new();
    LeftOut::note(&mut left_out, LeftOutReason::Token, "secrets");
    left_out
}
fn seal(lines: &[Line]) -> (bytes::Bytes, String) {
    let mut writer = ArchiveWriter::new(&key(1), &org(), &run()).unwrap();
    for line in lines {
        writer.write(line).unwrap();
    }
    writer.finish().unwrap()
}
fn archive(sizes: &[usize]) -> (bytes::Bytes, String) {
    let objects = sizes.iter().enumerate().map(|(name, bytes)| Line::Object {
        rendered: name % 2 == 1,
        object: object(name, *bytes),
    });
    let lines: Vec<Line> = std::iter::once(preamble())
        .chain(objects)
        .chain([closing(sizes.len() as u64)])
        .collect();
    seal(&lines)
}
fn open(archive: &[u8]) -> Result<(Summary, Vec<(bool, Value)>), ArchiveError> {
    let mut objects = Vec::new();
    read(&key(1), &org(), &run(), archive, |rendered, object| {
        objects.push((rendered, object));
    })
    .map(|summary| (summary, objects))
}

#[test]
fn what_is_written_is_read() {
    // Lines shorter than, exactly at the border of, and longer than a frame.
    let sizes = [0, 1, FRAME - 200, FRAME, 3 * FRAME + 17, 5];
    let (archive, digest) = archive(&sizes);
    let (summary, objects) = open(&archive).unwrap();
    assert_eq!(summary.content_digest, digest);
    assert_eq!((summary.objects, summary.bytes_read), (6, 7));
    assert_eq!(
        (&*summary.warnings, summary.left_out),
        (&["w".to_owned()][..], left_out())
    );
    for (name, (bytes, (rendered, read))) in sizes.iter().zip(objects).enumerate() {
        assert_eq!((rendered, read), (name % 2 == 1, object(name, *bytes)));
    }
}

#[test]
fn no_object_is_in_clear() {
    let (archive, _) = archive(&[1000]);
    assert!(!archive.windows(9).any(|bytes| bytes == b"xxxxxxxxx"));
}

#[test]
fn many_objects_go_through_frame_by_frame() {
    let sizes = vec![500; 20_000];
    let (archive, _) = archive(&sizes);
    let mut count = 0;
    let summary = read(&key(1), &org(), &run(), &archive, |_, _| count += 1).unwrap();
    assert_eq!((summary.objects, count), (20_000, 20_000));
}

#[test]
fn another_org_or_run_is_refused_by_name() {
    let (archive, _) = archive(&[1]);
    let read = |org: &OrgId, run: &RunId| read(&key(1), org, run, &archive, |_, _| ()).unwrap_err();
    assert!(matches!(
        read(&other_org(), &run()),
        ArchiveError::OtherOrg { .. }
    ));
    assert!(matches!(
        read(&org(), &other_run()),
        ArchiveError::OtherRun { .. }
    ));
}

#[test]
fn a_rewritten_header_does_not_decrypt() {
    let (archive, _) = archive(&[1]);
    let text = |id: &str, to: &str| {
        let end = archive.iter().position(|byte| *byte == b'\n').unwrap();
        let header = std::str::from_utf8(&archive[..end]).unwrap().replace(id, to);
        [header.as_bytes(), &archive[end..]].concat()
    };
    let for_other_org = text(org().as_str(), other_org().as_str());
    let error = read(&key(1), &other_org(), &run(), &for_other_org, |_, _| ()).unwrap_err();
    assert!(matches!(error, ArchiveError::Frame { frame: 0 }));
    let newer = text("\"formatVersion\":1", "\"formatVersion\":2");
    assert!(open(&newer).unwrap_err().to_string().contains("version 2"));
}

#[test]
fn another_key_does_not_decrypt() {
    let (archive, _) = archive(&[1]);
    let error = read(&key(2), &org(), &run(), &archive, |_, _| ()).unwrap_err();
    assert!(matches!(error, ArchiveError::Frame { frame: 0 }));
}

#[test]
fn a_cut_archive_is_refused_wherever_it_is_cut() {
    let (archive, _) = archive(&[FRAME, FRAME, 10]);
    let header = archive.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let at_frames = (0..3).map(|n| header + n * (FRAME + TAG));
    let anywhere = [0, 5, header + 1, header + FRAME, archive.len() - 1];
    for end in at_frames.chain(anywhere) {
        assert!(open(&archive[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn frames_cannot_change_places() {
    let (archive, _) = archive(&[FRAME, FRAME, FRAME]);
    let header = archive.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let sealed = FRAME + TAG;
    let mut swapped = archive.to_vec();
    let (one, two) = swapped[header..header + 2 * sealed].split_at_mut(sealed);
    one.swap_with_slice(two);
    assert!(matches!(open(&swapped), Err(ArchiveError::Frame { frame: 0 })));
}

#[test]
fn lines_have_an_order_and_a_count() {
    let one = || Line::Object {
        rendered: false,
        object: object(0, 1),
    };
    for lines in [
        vec![],
        vec![preamble()],
        vec![one(), closing(1)],
        vec![preamble(), one()],
        vec![preamble(), one(), closing(2)],
        vec![preamble(), closing(0), one()],
        vec![preamble(), preamble(), closing(0)],
    ] {
        let error = open(&seal(&lines).0).unwrap_err();
        assert!(matches!(error, ArchiveError::Line { .. }), "{lines:?}: {error}");
    }
}

#[test]
fn an_archive_has_a_largest_size() {
    let mut writer = ArchiveWriter::new(&key(1), &org(), &run())
        .unwrap()
        .with_largest(2 * FRAME);
    let line = Line::Object {
        rendered: false,
        object: object(0, 3 * FRAME),
    };
    assert!(matches!(writer.write(&line), Err(ArchiveError::TooLarge)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_flipped_bit_is_refused(place in 0usize..10_000, bit in 0u8..8) {
        let (archive, _) = archive(&[100, FRAME, 100]);
        let mut flipped = archive.to_vec();
        let place = place * flipped.len() / 10_000;
        flipped[place] ^= 1 << bit;
        prop_assert!(open(&flipped).is_err());
    }

    #[test]
    fn whatever_bytes_there_are_reading_ends_well_or_says_why(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(open(&bytes).is_err());
    }
}
