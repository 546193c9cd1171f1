/** Panes that are not Cornerstone's, under their pane ID, for the keys and buttons that act on a pane. */

export interface View {
  reset: () => void;
  zoom: (factor: number) => void;
}

const views = new Map<string, View>();

export function register(id: string, view: View): () => void {
  views.set(id, view);
  return () => {
    if (views.get(id) === view) views.delete(id);
  };
}

export const ownView = (id: string): View | undefined => views.get(id);
