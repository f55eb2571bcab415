import cv2
import numpy as np
import pytest
from facenet_pytorch import MTCNN
from facenet_pytorch.models.mtcnn import ONet, PNet, RNet
from PIL import Image

from tsd.media import face_finder, faces
from tsd.media.faces import (
    EYES_AT,
    EYES_TO_MOUTH,
    Landmarks,
    crop_face,
    detect_faces,
    find_face,
    landmarks_to_motion,
)
from tsd.media.video import read_frames
from tsd.prepare.drawn.synthetic import make_corpus
from tsd.prepare.face_nets import drawn


@pytest.fixture(scope="module")
def portraits(tmp_path_factory):
    """Frames of two drawn people, uint8 [160, 160, 3]: framed as every model here is trained on."""
    root = tmp_path_factory.mktemp("people")
    make_corpus(root, num_identities=2, clips_per_identity=1, seconds=1.0, size=160, seed=0, workers=1)
    return [read_frames(video, [9])[0] for video in sorted(root.rglob("*.mp4"))]


def _middles(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return points[:2].mean(0), points[3:].mean(0)


def test_a_framed_picture_stays_nearly_as_it_is(portraits):
    for portrait in portraits:
        picture, motion = crop_face(portrait, find_face(portrait), 160)
        again, second = crop_face(picture, find_face(picture), 160)
        assert picture.shape == (160, 160, 3) and picture.dtype == np.uint8
        eyes = motion[:4].reshape(2, 2).mean(0)
        np.testing.assert_allclose(eyes, EYES_AT, atol=1e-5)
        face = find_face(portrait)
        middle, mouth = _middles(face.points / 160)
        assert np.abs(middle - EYES_AT).max() < 0.08
        assert abs(np.linalg.norm(mouth - middle) - EYES_TO_MOUTH) < 0.06
        assert np.abs(motion - second).max() < 0.04
        assert np.abs(picture.astype(float) - again).mean() < 12


def test_a_face_is_found_wherever_it_is_and_framed_the_same(portraits):
    _, expected = crop_face(portraits[0], find_face(portraits[0]), 64)
    small = cv2.resize(portraits[0], (128, 128), interpolation=cv2.INTER_AREA)
    wide = np.full((300, 500, 3), 90, np.uint8)
    wide[120:248, 330:458] = small
    picture, motion = crop_face(wide, find_face(wide), 64)
    assert picture.shape == (64, 64, 3)
    assert np.abs(motion - expected).max() < 0.04


def test_faces_are_those_of_facenet_pytorch(portraits):
    """Boxes and landmarks of every face, in pictures of several sizes and shapes."""
    theirs = MTCNN(keep_all=True, device="cpu", post_process=False).eval()
    both = np.concatenate([portraits[0], portraits[1][:, :120]], 1)
    for picture in (portraits[1], cv2.resize(portraits[0], (333, 250)), both, np.full((80, 90, 3), 200, np.uint8)):
        found = face_finder.find(picture)
        boxes, probabilities, points = theirs.detect(Image.fromarray(picture), landmarks=True)
        assert len(found.boxes) == (0 if boxes is None else len(boxes))
        if boxes is not None:
            ours, same = np.lexsort(found.boxes.round().T), np.lexsort(boxes.astype(float).round().T)
            assert np.abs(found.boxes[ours] - boxes[same]).max() < 0.01
            assert np.abs(found.points[ours] - points[same]).max() < 0.01
            assert np.abs(found.probabilities[ours] - probabilities[same].astype(float)).max() < 1e-4


def test_the_nets_of_the_finder_are_what_their_command_writes():
    for name, net in {"propose": PNet(), "refine": RNet(), "output": ONet()}.items():
        assert (face_finder.NETS / f"{name}.onnx").read_bytes() == drawn(net.eval())


def test_the_crop_puts_landmarks_where_they_belong():
    points = np.float32([[100, 210], [160, 190], [140, 240], [120, 270], [170, 255]])
    face = Landmarks(points, np.float32([90, 150, 190, 300]), 1.0)
    image = np.zeros((400, 300, 3), np.uint8)
    eyes, mouth = _middles(points)
    cv2.circle(image, tuple(int(v) for v in mouth.round()), 6, (255, 0, 0), -1)
    for size in (40, 256):
        picture, motion = crop_face(image, face, size)
        np.testing.assert_allclose(motion[:4].reshape(2, 2).mean(0), EYES_AT, atol=1e-6)
        ys, xs = np.nonzero(picture[..., 0] > 128)
        spot = (np.array([xs.mean(), ys.mean()]) + 0.5) / size
        assert abs(np.linalg.norm(spot - EYES_AT) - EYES_TO_MOUTH) < 0.01
    lean = np.arctan2(motion[3] - motion[1], motion[2] - motion[0])
    assert abs(abs(lean) - faces.MAX_ROLL) < 1e-5  # 18 degrees were turned back to 12


def test_borders_are_repeated_beyond_the_picture(portraits):
    face = find_face(portraits[0])
    left = int(face.points[0, 0]) - 5
    cut = portraits[0][:, left:]
    moved = Landmarks(face.points - [left, 0], face.box - [left, 0, left, 0], 1.0)
    picture, _ = crop_face(cut, moved, 160)
    assert np.abs(np.diff(picture[:, :20].astype(int), axis=1)).max() <= 2


def test_pictures_without_exactly_one_face_are_named(portraits):
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)
    with pytest.raises(ValueError, match=r"noise\.png: no face found"):
        find_face(noise, "noise.png")
    with pytest.raises(ValueError, match=r"two\.png: shows 2 faces"):
        find_face(np.hstack(portraits), "two.png")
    tiny = np.full((240, 240, 3), 120, np.uint8)
    tiny[100:140, 100:140] = cv2.resize(portraits[0], (40, 40), interpolation=cv2.INTER_AREA)
    with pytest.raises(ValueError, match=r"tiny\.png: the face is only \d+ pixels across"):
        find_face(tiny, "tiny.png")
    with pytest.raises(ValueError, match="must be uint8"):
        find_face(portraits[0] / 255.0)


def test_a_small_face_in_the_background_does_not_count(portraits):
    both = np.full((320, 480, 3), 120, np.uint8)
    both[:, :320] = cv2.resize(portraits[0], (320, 320))
    both[:90, 390:] = cv2.resize(portraits[1], (90, 90), interpolation=cv2.INTER_AREA)
    assert len(detect_faces(both)) == 2
    assert find_face(both).points[:, 0].max() < 320


def test_looking_for_faces_leaves_the_threads_as_they_were(portraits):
    import torch

    before = torch.get_num_threads()
    detect_faces(portraits[0])
    assert torch.get_num_threads() == before


def test_motion_is_three_landmarks_and_open_eyes():
    points = np.arange(20, dtype=np.float32).reshape(2, 5, 2)
    motion = landmarks_to_motion(points)
    np.testing.assert_array_equal(motion, [[0, 1, 2, 3, 4, 5, 1], [10, 11, 12, 13, 14, 15, 1]])
    assert landmarks_to_motion(points[0], 0.5).tolist() == [0, 1, 2, 3, 4, 5, 0.5]


def test_a_picture_framed_exactly_is_not_resampled():
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    points = np.float32([[30, 42], [70, 42], [50, 55], [40, 72], [60, 72]])
    picture, motion = crop_face(image, Landmarks(points, np.float32([20, 20, 80, 90]), 1.0), 100)
    np.testing.assert_array_equal(picture, image)
    np.testing.assert_allclose(motion[:6], points[:3].ravel() / 100, atol=1e-6)


def test_the_crop_of_the_mirrored_picture_is_the_mirrored_crop():
    image = np.random.default_rng(0).integers(0, 256, (100, 120, 3), np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 2)
    points = np.float32([[40, 45], [71, 42], [55, 52], [45, 63], [66, 63]])
    mirrored = (np.float32([120, 0]) - points) * np.float32([1, -1])
    face, other = (Landmarks(p, np.zeros(4, np.float32), 1.0) for p in (points, mirrored[[1, 0, 2, 4, 3]]))
    picture, _ = crop_face(image, face, 150)
    turned, _ = crop_face(np.ascontiguousarray(image[:, ::-1]), other, 150)
    assert np.abs(picture[:, ::-1].astype(int) - turned).max() <= 2
