use super::boxes::{Corners, iou};

/// Non-maximum suppression within groups: goes through boxes by falling score and drops each one whose intersection over union
/// with a kept one of its group is above `threshold`. The result is the kept boxes' places by falling score, equal scores in
/// their order (torchvision's `batched_nms`).
///
/// # Panics
/// When there are not as many scores and groups as boxes.
pub fn nms(boxes: &[Corners], scores: &[f32], groups: &[u32], threshold: f32) -> Vec<usize> {
    assert!(boxes.len() == scores.len() && boxes.len() == groups.len());
    let mut order: Vec<usize> = (0..boxes.len()).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    let mut kept: Vec<usize> = Vec::new();
    let mut kept_of: std::collections::HashMap<u32, Vec<Corners>> =
        std::collections::HashMap::new();
    for i in order {
        let rivals = kept_of.entry(groups[i]).or_default();
        if rivals.iter().all(|rival| iou(*rival, boxes[i]) <= threshold) {
            rivals.push(boxes[i]);
            kept.push(i);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_do_not_suppress_each_other() {
        let boxes = [[0.0, 0.0, 10.0, 10.0], [1.0, 0.0, 11.0, 10.0], [0.0, 0.0, 10.0, 9.0]];
        let scores = [0.5, 0.9, 0.7];
        assert_eq!(nms(&boxes, &scores, &[0, 0, 0], 0.5), [1]);
        assert_eq!(nms(&boxes, &scores, &[0, 1, 0], 0.5), [1, 2]);
        assert_eq!(nms(&boxes, &scores, &[0, 0, 0], 0.95), [1, 2, 0]);
        assert!(nms(&[], &[], &[], 0.5).is_empty());
    }
}
